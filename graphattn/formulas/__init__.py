"""What is computed: scores, normalizers, and what both layers and kernels know of them."""
