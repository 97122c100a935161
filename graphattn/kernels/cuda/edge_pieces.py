"""The jit functions that the Triton programs over edges are made of.

Tensors of nodes are [nodes, heads, channels] in a row. A program has a block of heads; heads and channels are padded to
powers of two and masked. An argument that is None stands for an option that is not used.
"""

import triton
import triton.language as tl

# The bijection of 32-bit words of dropout.scramble, its odd constants, and the slope of leaky_relu, scores.KERNEL_SLOPE.
MULTIPLIER_1, MULTIPLIER_2 = tl.constexpr(0x7FEB352D), tl.constexpr(0x846CA68B)
QUERY, KEY = tl.constexpr(0x9E3779B1), tl.constexpr(0x85EBCA77)
REPEAT, HEAD = tl.constexpr(0xC2B2AE3D), tl.constexpr(0x27D4EB2F)
SLOPE = tl.constexpr(0.2)


@triton.jit
def number(x, ACC: tl.constexpr):
    """An argument that is a float64, as [1] in the dtype of sums; it would pass through float32 otherwise."""
    return (tl.zeros([1], ACC) + x).to(ACC)


@triton.jit
def load_piece(pieces):
    """What the program has to do: (first entry, entry after the last, node of the row, slot of the result)."""
    piece = pieces + tl.program_id(0).to(tl.int64) * 4
    return tl.load(piece), tl.load(piece + 1), tl.load(piece + 2), tl.load(piece + 3)


@triton.jit
def load_edges(col, edge_id, first, end, BLOCK_E: tl.constexpr):
    """The next edges of a row: (their places, which of them there are, their keys, their numbers in edge_index)."""
    places = first + tl.arange(0, BLOCK_E).to(tl.int64)
    is_edge = places < end
    keys = tl.load(col + places, mask=is_edge, other=0).to(tl.int64)
    return places, is_edge, keys, numbers_of(edge_id, places, is_edge)


@triton.jit
def numbers_of(edge_id, places, is_edge):
    """The numbers in edge_index of edges at some places of the CSR."""
    edges = places
    if edge_id is not None:
        edges = tl.load(edge_id + places, mask=is_edge, other=0).to(tl.int64)
    return edges


@triton.jit
def load_row(pointer, node, head, channel, HEADS: tl.constexpr, DIM: tl.constexpr, ACC: tl.constexpr):
    """One node: [heads, channels]."""
    at = node * (HEADS * DIM) + head[:, None] * DIM + channel[None, :]
    inside = (head < HEADS)[:, None] & (channel < DIM)[None, :]
    return tl.load(pointer + at, mask=inside, other=0).to(ACC)


@triton.jit
def store_row(pointer, node, head, channel, HEADS: tl.constexpr, DIM: tl.constexpr, row):
    at = node * (HEADS * DIM) + head[:, None] * DIM + channel[None, :]
    tl.store(pointer + at, row, mask=(head < HEADS)[:, None] & (channel < DIM)[None, :])


@triton.jit
def load_rows(
    pointer, nodes, is_edge,
    HEADS: tl.constexpr, GROUP: tl.constexpr, DIM: tl.constexpr, HEAD_BLOCK: tl.constexpr, DIM_BLOCK: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """A node of each edge: [edges, heads, channels]; GROUP heads share what is stored for one."""
    # Heads and channels are one axis of the load: a warp reads a node as a whole, not a few channels of many nodes.
    place = tl.arange(0, HEAD_BLOCK * DIM_BLOCK)
    head, channel = tl.program_id(1) * HEAD_BLOCK + place // DIM_BLOCK, place % DIM_BLOCK
    at = nodes[:, None] * (HEADS // GROUP * DIM) + (head // GROUP * DIM + channel)[None, :]
    inside = is_edge[:, None] & ((head < HEADS) & (channel < DIM))[None, :]
    rows = tl.load(pointer + at, mask=inside, other=0)
    return tl.reshape(rows, [nodes.shape[0], HEAD_BLOCK, DIM_BLOCK]).to(ACC)


@triton.jit
def load_features(x, edges, is_edge, channel, EDGE_DIM: tl.constexpr, ACC: tl.constexpr):
    """[edges, channels]."""
    at = edges[:, None] * EDGE_DIM + channel[None, :]
    return tl.load(x + at, mask=is_edge[:, None] & (channel < EDGE_DIM)[None, :], other=0).to(ACC)


@triton.jit
def activated(
    hidden, edges, is_edge, x, edge_weight, head, channel,
    HEADS: tl.constexpr, DIM: tl.constexpr, EDGE_DIM: tl.constexpr, TANH: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """activation(hidden + edge_weight @ features) of the additive score; `edge_weight` is [edge_dim, heads, dim]."""
    if edge_weight is not None:
        for d in range(EDGE_DIM):
            column = load_row(edge_weight, d, head, channel, HEADS, DIM, ACC)
            feature = tl.load(x + edges * EDGE_DIM + d, mask=is_edge, other=0).to(ACC)
            hidden += feature[:, None, None] * column[None, :, :]
    if TANH:
        shrunk = tl.exp(-2 * tl.abs(hidden))
        size = (1 - shrunk) / (1 + shrunk)
        hidden = tl.where(hidden < 0, -size, size)
    else:
        hidden = tl.where(hidden < 0, SLOPE * hidden, hidden)
    return hidden


@triton.jit
def before_activation(
    grad_scores,
    hidden,
    vector,
    head,
    channel,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    TANH: tl.constexpr,
    ACC: tl.constexpr,
):
    """The gradient of what was activated to `hidden` [edges, heads, dim], from that of the unscaled scores."""
    grad = grad_scores[:, :, None] * load_row(vector, 0, head, channel, HEADS, DIM, ACC)[None, :, :]
    if TANH:
        return grad * (1 - hidden * hidden)
    return tl.where(hidden > 0, grad, SLOPE * grad)  # at 0 as torch's leaky_relu


@triton.jit
def piece_scores(
    query, edge_query, key, edges, is_edge, bias, x, vector, edge_weight, scale, head, channel, edge_channel,
    HEADS: tl.constexpr, DIM: tl.constexpr, EDGE_DIM: tl.constexpr, BIAS_HEADS: tl.constexpr,
    TANH: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Scores [edges, heads], -inf where there is no edge, and what they are made of: keys, or activated hidden vectors."""
    made_of = key
    if vector is None:
        scores = tl.sum(query[None, :, :] * key, 2)
    else:
        made_of = query[None, :, :] + key
        made_of = activated(made_of, edges, is_edge, x, edge_weight, head, channel, HEADS, DIM, EDGE_DIM, TANH, ACC)
        scores = tl.sum(load_row(vector, 0, head, channel, HEADS, DIM, ACC)[None, :, :] * made_of, 2)
    if edge_query is not None:
        features = load_features(x, edges, is_edge, edge_channel, EDGE_DIM, ACC)
        scores += tl.sum(edge_query[None, :, :] * features[:, None, :], 2)
    scores = scores * scale
    inside = is_edge[:, None] & (head < HEADS)[None, :]
    if bias is not None:
        at = edges[:, None] * BIAS_HEADS + (head if BIAS_HEADS > 1 else head * 0)[None, :]
        scores += tl.load(bias + at, mask=inside, other=0).to(ACC)
    return tl.where(inside, scores, float("-inf")), made_of


@triton.jit
def unscaled_sum_weights(scores, RELU: tl.constexpr):
    """relu or sigmoid."""
    if RELU:
        return tl.where(scores < 0, 0.0, scores)
    return 1 / (1 + tl.exp(-scores))


@triton.jit
def scramble(word):
    word = (word ^ (word >> 16)) * MULTIPLIER_1
    word = (word ^ (word >> 15)) * MULTIPLIER_2
    return word ^ (word >> 16)


@triton.jit
def keep_factors(seed, query, keys, places, is_edge, repeat, head, threshold, keep_scale, ACC: tl.constexpr):
    """[edges, heads] as dropout.keep_factors; `repeat` is None where no edge repeats."""
    word = scramble(tl.load(seed).to(tl.uint32) ^ (query.to(tl.uint32) * QUERY))
    words = scramble(word ^ (keys.to(tl.uint32) * KEY))
    if repeat is not None:
        words = words ^ (tl.load(repeat + places, mask=is_edge, other=0).to(tl.uint32) * REPEAT)
    words = scramble(words)
    words = scramble(words[:, None] ^ (head.to(tl.uint32) * HEAD)[None, :])
    return (words.to(tl.int64) >= threshold).to(ACC) * keep_scale
