"""The networks that recipes train: each takes sizes and a batch, and is as readable as the paper that it comes from."""
