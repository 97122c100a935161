// Masks and weights as the page holds them, and the questions that are asked of them.

function bytesOf(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

function integersOf({ bytes, text }) {
  const { buffer } = bytesOf(text);
  return bytes === 2 ? new Uint16Array(buffer) : new Uint32Array(buffer);
}

// Which keys each query may see. Edges have numbers: query after query, and in a row from the first key to the last.
class Mask {
  constructor(given, numQueries, numKeys) {
    this.numQueries = numQueries;
    this.numKeys = numKeys;
    this.band = 'low' in given ? given : null;
    this.starts = new Uint32Array(numQueries + 1);
    const counts = this.band ? null : integersOf(given.counts);
    this.keys = this.band ? null : integersOf(given.keys);
    for (let query = 0; query < numQueries; query++)
      this.starts[query + 1] = this.starts[query] + (counts ? counts[query] : this.lengthOfBand(query));
  }
  get numEdges() { return this.starts[this.numQueries]; }
  firstOfBand(query) {
    const { low, step } = this.band, key = query + low;
    return key >= 0 ? key : key + step * Math.ceil(-key / step);
  }
  lengthOfBand(query) {
    const { high, step } = this.band, first = this.firstOfBand(query);
    let last = query + high;
    if (last >= this.numKeys) last -= step * Math.ceil((last - this.numKeys + 1) / step);
    return last < first ? 0 : (last - first) / step + 1;
  }
  row(query) {  // the keys of a query
    const start = this.starts[query], length = this.starts[query + 1] - start;
    if (!this.band) return this.keys.subarray(start, start + length);
    const first = this.firstOfBand(query), row = new Uint32Array(length);
    for (let i = 0; i < length; i++) row[i] = first + i * this.band.step;
    return row;
  }
  edge(query, key) {  // the number of an edge, -1 if there is none
    const start = this.starts[query], end = this.starts[query + 1];
    if (this.band) {
      const place = (key - this.firstOfBand(query)) / this.band.step;
      return Number.isInteger(place) && place >= 0 && place < end - start ? start + place : -1;
    }
    let low = start, high = end - 1;
    while (low <= high) {
      const middle = (low + high) >> 1, found = this.keys[middle];
      if (found === key) return middle;
      if (found < key) low = middle + 1; else high = middle - 1;
    }
    return -1;
  }
}

// One layer of one model: its mask and the weights of its heads, decoded when they are first asked for.
class Layer {
  constructor(given, sides) {
    Object.assign(this, given);
    this.numQueries = sides[given.queries].labels.length;
    this.numKeys = sides[given.keys].labels.length;
    this.shape = new Mask(given.mask, this.numQueries, this.numKeys);
    this.span = (given.high - given.low) / 65535;
  }
  get raw() {
    return (this.decoded ??= new Uint16Array(bytesOf(this.weights).buffer));
  }
  get best() {  // keys of the largest weights [heads, queries, kept], where not all are kept
    return (this.decodedKeys ??= integersOf(this.kept_keys));
  }
}

// One head: what the page shows.
class View {
  constructor(layer, head, number) {
    this.layer = layer;
    this.head = head;
    this.number = number;
    const of = layer.model ? `${layer.model} · ` : '';
    this.label = layer.rollout ? `${of}rollout` : `${of}${layer.title} · head ${layer.first + head + 1}`;
    this.spread = layer.spread[head];
    this.distance = layer.distance ? layer.distance[head] : null;
  }
  get queries() { return this.layer.queries; }
  get keys() { return this.layer.keys; }

  // {nodes, weights}: the keys that a query may see, or the queries that may see a key.
  of(node, direction) { return direction === 'column' ? this.column(node) : this.row(node); }

  row(query) {
    const { layer, head } = this, { shape, raw, low, span } = layer, nodes = shape.row(query), start = shape.starts[query];
    const weights = new Float64Array(nodes.length);
    if (layer.kept) {
      const from = (head * layer.numQueries + query) * layer.kept;
      for (let i = from; i < from + layer.kept && layer.best[i] < layer.numKeys; i++)
        weights[shape.edge(query, layer.best[i]) - start] = low + span * raw[i];
    } else {
      const from = head * shape.numEdges + start;
      for (let i = 0; i < nodes.length; i++) weights[i] = low + span * raw[from + i];
    }
    return { nodes, weights };
  }
  column(key) {
    const { layer, head } = this, { shape, raw, low, span } = layer, nodes = [], weights = [];
    for (let query = 0; query < layer.numQueries; query++) {
      const edge = shape.edge(query, key);
      if (edge < 0) continue;
      nodes.push(query);
      weights.push(layer.kept ? this.kept(query, key) : low + span * raw[head * shape.numEdges + edge]);
    }
    return { nodes, weights };
  }
  kept(query, key) {  // the weight of an edge, 0 if it is not among those that are kept
    const { layer, head } = this, from = (head * layer.numQueries + query) * layer.kept;
    for (let i = from; i < from + layer.kept; i++) if (layer.best[i] === key) return layer.low + layer.span * layer.raw[i];
    return 0;
  }
  get largest() {
    return (this.largestKnown ??= this.layer.low + this.layer.span * this.layer.raw.reduce((most, value) => Math.max(most, value), 0));
  }
}

// The difference of two heads over the same nodes; where one of them has no edge its weight is 0.
class Difference {
  constructor(first, second) {
    this.first = first;
    this.second = second;
    this.layer = first.layer;
    this.label = `${first.label} minus ${second.label}`;
  }
  get queries() { return this.first.queries; }
  get keys() { return this.first.keys; }
  of(node, direction) {
    const all = new Map(), one = this.first.of(node, direction), other = this.second.of(node, direction);
    one.nodes.forEach((at, i) => all.set(at, one.weights[i]));
    other.nodes.forEach((at, i) => all.set(at, (all.get(at) ?? 0) - other.weights[i]));
    return { nodes: [...all.keys()], weights: [...all.values()] };
  }
  get largest() { return Math.max(this.first.largest, this.second.largest); }
}

const fits = (first, second) =>
  first.layer.numQueries === second.layer.numQueries && first.layer.numKeys === second.layer.numKeys &&
  first.queries === second.queries && first.keys === second.keys;

const percent = (weight) => `${(100 * weight).toFixed(Math.abs(weight) < 0.0995 ? 2 : 1)} %`;
const signed = (weight) => (weight > 0 ? '+' : weight < 0 ? '−' : '') + percent(Math.abs(weight));
