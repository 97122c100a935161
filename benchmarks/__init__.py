"""Speed and memory of graphattn beside its peers. One command each, from the root of the repository:

    python -m benchmarks.edges            any graph: PyG's message passing, plain torch, dense SDPA
    python -m benchmarks.scale            time and bytes of an edge, up to what the memory holds
    python -m benchmarks.layers           whole layers: PyG, nn.MultiheadAttention, padding
    python -m benchmarks.bands            bands and grids: dense SDPA, FlexAttention, PyG
    python -m benchmarks.everyday         molecules, Cora, sampled blocks, a tiny graph, sentences: whole models
    python -m benchmarks.choose_kernel    where one kernel overtakes another
    python -m benchmarks.reorder          nodes numbered at random, and so that neighbours are near

Peers get equal inputs of equal dtype, are checked against float64 first, and are timed in turn in one process. Tables, raw
figures and pictures are written to `results/` (`--out`).

NATTEN is no peer on a CPU: without CUDA its 0.21 hands neighbourhood attention to FlexAttention, which is one.
"""
