"""From checked arguments to a merged, differentiable result."""
