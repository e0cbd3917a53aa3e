"""GRU4Rec and SASRec as they are used today: trained offline, retrained now and then, frozen in between."""
