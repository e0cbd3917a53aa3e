"""GRU4Rec and SASRec as they are usually deployed: trained offline, retrained now and then, frozen in between."""
