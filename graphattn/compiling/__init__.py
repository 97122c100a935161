"""What torch.compile, torch.export and their tracers see of attention."""
