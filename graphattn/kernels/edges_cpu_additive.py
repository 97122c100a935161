"""Compiled pieces of the additive score, vector . activation(query + key + edge_weight @ edge features), for edges_cpu_rows.

A block of edges holds its activated hidden vectors in `hidden` [edges * heads * dim]; the score and its gradients follow.
"""

from graphattn.kernels.vectors import add_combination, add_scaled, dot, dot_heads, inner, tanhs

TANH, LEAKY_RELU = 0, 1
SLOPE = 0.2  # of leaky_relu below 0, as in scores.ACTIVATIONS


@inner
def add_pair(hidden, at, q, q_at, k, k_at, kv_heads, group, dim):
    """hidden[at ...] = query + key, all heads; `group` heads share a key."""
    if group == 1:
        width = kv_heads * dim
        row, query, key = hidden[at : at + width], q[q_at : q_at + width], k[k_at : k_at + width]
        for i in range(width):
            row[i] = query[i] + key[i]
        return
    for _ in range(kv_heads):
        for _ in range(group):
            for c in range(dim):
                hidden[at + c] = q[q_at + c] + k[k_at + c]
            at += dim
            q_at += dim
        k_at += dim


@inner
def add_edge(hidden, at, edge_weight, x, x_at, width, edge_dim):
    """hidden[at ...] += edge features @ edge_weight [edge_dim, width]: the long side last, so that vectors are full."""
    add_combination(x, x_at, 1, edge_weight, 0, width, edge_dim, hidden, at, width)


@inner
def activate(hidden, count, activation):
    if activation == TANH:
        tanhs(hidden, count)
    else:
        slope = hidden.dtype.type(SLOPE)
        for i in range(count):
            hidden[i] = hidden[i] if hidden[i] >= 0 else slope * hidden[i]


@inner
def vector_products(scores, hidden, count, vector, heads, dim):
    for e in range(count):
        dot_heads(scores, e * heads, vector, 0, hidden, e * heads * dim, heads, 1, dim)


@inner
def to_gradient(hidden, at, grad_scores, base, vector, grad_vector, heads, dim, activation):
    """Replaces one edge's activated hidden vector by its gradient before activation; adds up the gradient of `vector`."""
    one, slope = hidden.dtype.type(1), hidden.dtype.type(SLOPE)
    for h in range(heads):
        grad = grad_scores[base + h]
        if grad_vector.size:
            add_scaled(grad, hidden, at, grad_vector, h * dim, dim)
        row, of_head = hidden[at : at + dim], vector[h * dim : (h + 1) * dim]
        if activation == TANH:
            for c in range(dim):
                row[c] = grad * of_head[c] * (one - row[c] * row[c])
        else:
            for c in range(dim):
                row[c] = grad * of_head[c] * (one if row[c] >= 0 else slope)
        at += dim


@inner
def add_all(x, x_at, y, y_at, size):
    x, y = x[x_at : x_at + size], y[y_at : y_at + size]
    for i in range(size):
        y[i] += x[i]


@inner
def add_groups(x, x_at, y, y_at, kv_heads, group, dim):
    """y[group] += x[head] for the `group` heads of every group."""
    for _ in range(kv_heads):
        for _ in range(group):
            add_all(x, x_at, y, y_at, dim)
            x_at += dim
        y_at += dim


@inner
def feature_gradient(hidden, at, edge_weight, grad_x, x_at, width, edge_dim):
    """The gradient of one edge's features, from that of its hidden vector."""
    for d in range(edge_dim):
        grad_x[x_at + d] += dot(hidden, at, edge_weight, d * width, width)


@inner
def edge_weight_gradient(hidden, features, grad_edge_weight, count, width, edge_dim):
    """grad_edge_weight [edge_dim, width] += features^T @ hidden over a block of `count` edges, whose sums stay in registers."""
    for d in range(edge_dim):
        add_combination(features, d, edge_dim, hidden, 0, width, count, grad_edge_weight, d * width, width)
