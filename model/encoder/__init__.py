"""The LSTM encoder of users: its windows, training examples and losses."""
