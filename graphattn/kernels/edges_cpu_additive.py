"""Compiled pieces of the additive score, vector . activation(query + key + edge_weight @ edge features), for edges_cpu_rows.

A block of edges holds its activated hidden vectors in `hidden` [edges * heads * dim]; the score and its gradients follow.
"""

from numba import njit

from graphattn.kernels.vectors import FASTMATH, add_scaled, dot, dot_heads, tanhs

TANH, LEAKY_RELU = 0, 1
SLOPE = 0.2  # of leaky_relu below 0, as in scores.ACTIVATIONS


@njit(fastmath=FASTMATH, error_model="numpy")
def add_pair(hidden, at, q, q_at, k, k_at, kv_heads, group, dim):
    """hidden[at ...] = query + key, all heads; `group` heads share a key."""
    if group == 1:
        for i in range(kv_heads * dim):
            hidden[at + i] = q[q_at + i] + k[k_at + i]
        return
    for _ in range(kv_heads):
        for _ in range(group):
            for c in range(dim):
                hidden[at + c] = q[q_at + c] + k[k_at + c]
            at += dim
            q_at += dim
        k_at += dim


@njit(fastmath=FASTMATH, error_model="numpy")
def add_edge(hidden, at, edge_weight, x, x_at, width, edge_dim):
    """hidden[at ...] += edge_weight @ edge features."""
    for i in range(width):
        hidden[at + i] += dot(edge_weight, i * edge_dim, x, x_at, edge_dim)


@njit(fastmath=FASTMATH, error_model="numpy")
def activate(hidden, count, activation):
    if activation == TANH:
        tanhs(hidden, count)
    else:
        slope = hidden.dtype.type(SLOPE)
        for i in range(count):
            hidden[i] = hidden[i] if hidden[i] >= 0 else slope * hidden[i]


@njit(fastmath=FASTMATH, error_model="numpy")
def vector_products(scores, hidden, count, vector, heads, dim):
    for e in range(count):
        dot_heads(scores, e * heads, vector, 0, hidden, e * heads * dim, heads, 1, dim)


@njit(fastmath=FASTMATH, error_model="numpy")
def to_gradient(hidden, at, grad_scores, base, vector, grad_vector, heads, dim, activation):
    """Replaces one edge's activated hidden vector by its gradient before activation; adds up the gradient of `vector`."""
    one, slope = hidden.dtype.type(1), hidden.dtype.type(SLOPE)
    for h in range(heads):
        grad = grad_scores[base + h]
        if grad_vector.size:
            add_scaled(grad, hidden, at, grad_vector, h * dim, dim)
        if activation == TANH:
            for c in range(dim):
                hidden[at + c] = grad * vector[h * dim + c] * (one - hidden[at + c] * hidden[at + c])
        else:
            for c in range(dim):
                hidden[at + c] = grad * vector[h * dim + c] * (one if hidden[at + c] >= 0 else slope)
        at += dim


@njit(fastmath=FASTMATH, error_model="numpy")
def add_all(x, x_at, y, y_at, size):
    for i in range(size):
        y[y_at + i] += x[x_at + i]


@njit(fastmath=FASTMATH, error_model="numpy")
def add_groups(x, x_at, y, y_at, kv_heads, group, dim):
    """y[group] += x[head] for the `group` heads of every group."""
    for _ in range(kv_heads):
        for _ in range(group):
            add_all(x, x_at, y, y_at, dim)
            x_at += dim
        y_at += dim


@njit(fastmath=FASTMATH, error_model="numpy")
def edge_gradients(hidden, at, edge_weight, grad_edge_weight, x, grad_x, x_at, width, edge_dim):
    """From the gradient of one edge's hidden vector: those of its features and of `edge_weight`."""
    for i in range(width):
        add_scaled(hidden[at + i], edge_weight, i * edge_dim, grad_x, x_at, edge_dim)
        add_scaled(hidden[at + i], x, x_at, grad_edge_weight, i * edge_dim, edge_dim)
