// The inputs: each says where its nodes are, what lies under the attention, and how attention is marked on it.

const INSET = 3;
const FAR = 200;  // pixels from word to word, up and down: a longer line would only hide the words between

// How strong a mark is, 0 .. 1.
const share = (shown, weight) => Math.min(1, Math.abs(weight) / (shown.top || 1));
const colourOf = (shown, weight) => (!shown.isDifference ? shown.colours.weight : weight > 0 ? shown.colours.more : shown.colours.less);
const box = ({ x, y, width, height }) => `M${x} ${y}h${width}v${height}h${-width}z`;

const nodeOf = (scene, node) => (node < scene.sides[0].labels.length ? { side: 0, node } : null);

class Words {
  constructor(scene, holder) {
    this.scene = scene;
    this.spans = scene.sides.map(() => []);
    this.isWriting = scene.kind === 'writing';
    const order = scene.sides.length > 1 ? [1, 0] : [0];  // what attends stands above what it attends to
    for (const side of order) {
      const row = document.createElement('div'), name = document.createElement('b');
      row.className = 'row';
      name.textContent = scene.sides[side].many;
      if (order.length > 1 && side === order[0]) row.append(name);
      scene.sides[side].labels.forEach((label, node) => {
        const span = document.createElement('span');
        span.textContent = label;
        const tag = scene.shown.tags && side === scene.sides.length - 1 ? scene.shown.tags[node] : null;
        if (tag) span.append(Object.assign(document.createElement('small'), { textContent: tag }));
        this.spans[side].push(span);
        row.append(span, ' ');
      });
      if (order.length > 1 && side !== order[0]) row.append(name);  // behind its words: between the rows are the lines
      holder.append(row);
    }
    this.holder = holder;
  }
  layout(width) {
    this.holder.style.width = `${width}px`;
    const from = this.holder.getBoundingClientRect();
    this.places = this.spans.map((row) => row.map((span) => {
      const { left, top, width: wide, height } = span.getBoundingClientRect();
      return { x: left - from.left, y: top - from.top, width: wide, height };
    }));
    this.width = width;
    this.height = Math.ceil(from.height) + 8;
  }
  drawBase(paint, colours, isExport) {
    if (!isExport) return;  // on the page the words are text, which can be searched and read aloud
    this.places.forEach((row, side) => row.forEach(({ x, y }, node) => {
      paint.text(x + INSET, y + 11, this.scene.sides[side].labels[node], { fill: colours.ink, size: 15 });
      if (this.scene.shown.tags && side === this.scene.sides.length - 1)
        paint.text(x + INSET, y + 25, this.scene.shown.tags[node], { fill: colours.soft, size: 10 });
    }));
  }
  centre({ side, node }) {
    const { x, y, width, height } = this.places[side][node];
    return [x + width / 2, y + height / 2];
  }
  hit(x, y) {
    for (let side = 0; side < this.places.length; side++) {
      const node = this.places[side].findIndex((at) => x >= at.x - 4 && x <= at.x + at.width + 4 && y >= at.y - 7 && y <= at.y + at.height + 7);
      if (node >= 0) return { side, node };
    }
    return null;
  }
  drawMarks(paint, shown) {
    const places = this.places[shown.otherSide];
    shown.nodes.forEach((node, i) => {
      const at = places[node], weight = shown.weights[i];
      paint.rect(at.x, at.y + at.height, at.width, 1.5, { fill: shown.colours.seen });
      if (weight) paint.rect(at.x, at.y, at.width, at.height, { fill: colourOf(shown, weight), alpha: 0.07 + 0.45 * share(shown, weight) });
    });
    const from = this.places[shown.side][shown.node], strongest = shown.strongest.filter(([, weight]) => share(shown, weight) > 0.08);
    for (const [node, weight] of strongest.slice(0, 24).reverse()) this.drawArc(paint, from, places[node], weight, shown);
    paint.rect(from.x - 1, from.y - 1, from.width + 2, from.height + 2, { stroke: shown.colours.chosen, width: 2 });
  }
  drawArc(paint, from, to, weight, shown) {
    const style = { stroke: colourOf(shown, weight), width: 0.7 + 4 * share(shown, weight), alpha: 0.25 + 0.6 * share(shown, weight) };
    const [startX, endX] = [from.x + from.width / 2, to.x + to.width / 2], down = to.y - from.y;
    if (Math.abs(down) >= 4) {  // another line of words: between the sides that face each other
      if (shown.side === shown.otherSide && Math.abs(down) > FAR) return;
      const start = down > 0 ? from.y + from.height : from.y, end = down > 0 ? to.y : to.y + to.height, middle = (start + end) / 2;
      paint.path(`M${startX} ${start}C${startX} ${middle},${endX} ${middle},${endX} ${end}`, style);
    } else if (from !== to) {
      const rise = Math.min(13, 5 + Math.abs(startX - endX) / 12), y = from.y;
      paint.path(`M${startX} ${y}C${startX} ${y - rise},${endX} ${y - rise},${endX} ${y}`, style);
    }
  }
  drawVeil(paint, shown) {
    const seen = new Uint8Array(this.places[shown.otherSide].length);
    shown.nodes.forEach((node) => (seen[node] = 1));
    if (shown.side === shown.otherSide) seen[shown.node] = 1;
    this.places.forEach((row, side) => row.forEach((at, node) => {
      const isLater = this.isWriting && side === shown.steps.side && node >= shown.written;
      const isHidden = isLater || (side === shown.otherSide && !seen[node]);
      if (isHidden) paint.rect(at.x - 2, at.y - 2, at.width + 4, at.height + 6, { fill: shown.colours.paper, alpha: isLater ? 0.85 : 0.55 });
    }));
  }
}

class Patches {
  constructor(scene) {
    this.scene = scene;
    const { shown } = scene, bytes = bytesOf(shown.pixels);
    this.picture = canvasOf(shown.width, shown.height, (at) => bytes.subarray(3 * at, 3 * at + 3));
  }
  layout(width) {
    const { rows, columns, height, width: wide } = this.scene.shown;
    const scale = Math.min(width / wide, 520 / height);
    this.width = wide * scale;
    this.height = height * scale;
    this.stepX = this.width / columns;
    this.stepY = this.height / rows;
  }
  place(node) {
    const { columns } = this.scene.shown;
    return { x: (node % columns) * this.stepX, y: Math.floor(node / columns) * this.stepY, width: this.stepX, height: this.stepY };
  }
  centre({ node }) {
    const { x, y } = this.place(node);
    return [x + this.stepX / 2, y + this.stepY / 2];
  }
  hit(x, y) {
    const { rows, columns } = this.scene.shown, row = Math.floor(y / this.stepY), column = Math.floor(x / this.stepX);
    const node = row * columns + column;
    return row >= 0 && column >= 0 && row < rows && column < columns ? nodeOf(this.scene, node) : null;
  }
  drawBase(paint, colours) {
    paint.image(this.picture, 0, 0, this.width, this.height);
    paint.rect(0.5, 0.5, this.width - 1, this.height - 1, { stroke: colours.line });
  }
  drawMarks(paint, shown) {
    const places = Array.from(shown.nodes, (node) => this.place(node));
    const { rows, columns } = this.scene.shown;
    if (places.length < rows * columns)  // all but what may be seen
      paint.path(`M0 0h${this.width}v${this.height}h${-this.width}z` + places.map(box).join(''), { fill: shown.colours.paper, alpha: 0.62, rule: 'evenodd' });
    paint.path(places.map(box).join(''), { fill: shown.colours.paper, alpha: 0.4 });  // so that weights are seen on any picture
    places.forEach((at, i) => {
      const weight = shown.weights[i];
      if (weight) paint.rect(at.x, at.y, at.width, at.height, { fill: colourOf(shown, weight), alpha: 0.1 + 0.65 * share(shown, weight) });
    });
    if (places.length <= 600) paint.path(places.map(box).join(''), { stroke: shown.colours.seen, width: 1 });
    if (shown.node < 0) return;
    const { x, y, width, height } = this.place(shown.node);
    paint.rect(x, y, width, height, { stroke: shown.colours.paper, width: 5 });
    paint.rect(x, y, width, height, { stroke: shown.colours.chosen, width: 2.5 });
  }
  move(node, key) {
    const { columns } = this.scene.shown;
    return node + ({ ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[key] || 0);
  }
}

class Sound {
  constructor(scene) {
    this.scene = scene;
    const { shown } = scene, bytes = bytesOf(shown.pixels), frames = shown.seconds.length;
    this.frames = frames;
    const grey = (at) => {  // the lowest band is the lowest line
      const value = bytes[(at % frames) * shown.bands + shown.bands - 1 - Math.floor(at / frames)];
      return [value, value, value];
    };
    this.pictures = { dark: canvasOf(frames, shown.bands, grey), light: canvasOf(frames, shown.bands, (at) => grey(at).map((value) => 255 - value)) };
  }
  layout(width) {
    this.width = Math.min(width, 1000);
    this.left = 54;
    this.top = 92;
    this.high = 190;
    this.height = this.top + this.high + 42;
    this.step = (this.width - this.left - 4) / this.frames;
  }
  x(node) { return this.left + (node + 0.5) * this.step; }
  centre({ node }) { return [this.x(node), this.top + this.high / 2]; }
  hit(x, y) {
    const node = Math.floor((x - this.left) / this.step);
    return node >= 0 && node < this.frames && y >= 0 ? nodeOf(this.scene, node) : null;
  }
  drawBase(paint, colours, isExport, isDark) {
    const { hertz, seconds, bands } = this.scene.shown, right = this.left + this.frames * this.step;
    paint.image(this.pictures[isDark ? 'dark' : 'light'], this.left, this.top, this.frames * this.step, this.high);
    paint.rect(this.left, this.top, this.frames * this.step, this.high, { stroke: colours.line });
    for (const [height, name] of hertz) paint.text(this.left - 5, this.top + this.high * (1 - (height + 0.5) / bands), name, { fill: colours.soft, size: 10, anchor: 'end' });
    const every = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30].find((tick) => (seconds.at(-1) - seconds[0]) / tick <= 10) || 60;
    const perFrame = seconds.length > 1 ? seconds[1] - seconds[0] : 1;
    for (let tick = Math.ceil(seconds[0] / every) * every; tick <= seconds.at(-1) + 1e-9; tick += every) {
      const x = this.x((tick - seconds[0]) / perFrame);
      paint.rect(x, this.top + this.high, 1, 4, { fill: colours.soft });
      paint.text(x, this.top + this.high + 12, `${+tick.toFixed(2)}`, { fill: colours.soft, size: 10, anchor: 'middle' });
    }
    paint.text((this.left + right) / 2, this.top + this.high + 28, 'time in seconds', { fill: colours.soft, size: 11, anchor: 'middle' });
  }
  drawMarks(paint, shown) {
    const seen = new Uint8Array(this.frames), base = shown.isDifference ? this.top / 2 : this.top - 6, room = shown.isDifference ? base - 6 : base - 10;
    shown.nodes.forEach((node, i) => {
      seen[node] = 1;
      const weight = shown.weights[i], high = room * share(shown, weight);
      if (weight) paint.rect(this.x(node) - this.step / 2, weight > 0 ? base - high : base, Math.max(1, this.step - 0.5), high, { fill: colourOf(shown, weight) });
    });
    for (let start = 0; start < this.frames; ) {  // runs of frames: a line under those that may be seen, a veil over the others
      let end = start;
      while (end < this.frames && seen[end] === seen[start]) end++;
      const x = this.left + start * this.step, wide = (end - start) * this.step;
      if (seen[start]) paint.rect(x, base, wide, 2, { fill: shown.colours.seen });
      else paint.rect(x, this.top, wide, this.high, { fill: shown.colours.paper, alpha: 0.62 });
      start = end;
    }
    if (shown.node >= 0) paint.rect(this.x(shown.node) - Math.max(1, this.step / 2), 2, Math.max(2, this.step), this.top + this.high - 2, { stroke: shown.colours.chosen, width: 1.5 });
    if (shown.isDifference) paint.text(this.left - 5, base, '0', { fill: shown.colours.soft, size: 10, anchor: 'end' });
    paint.text(this.left - 5, base - room, percent(shown.top), { fill: shown.colours.soft, size: 10, anchor: 'end' });
  }
}

class Molecule {
  constructor(scene, holder, redraw) {
    this.scene = scene;
    this.pictures = scene.shown.pictures.map((text) => {
      const picture = new Image();
      picture.onload = redraw;
      picture.src = `data:image/svg+xml;base64,${text}`;
      return picture;
    });
    this.bonds = new Set(scene.shown.bonds.flatMap(([one, other]) => [`${one} ${other}`, `${other} ${one}`]));
  }
  layout(width) {
    const { width: wide, height } = this.scene.shown;
    this.scale = Math.min(1.15, width / wide);
    this.thick = Math.min(1, this.scale);  // marks are as thick as the drawing is large
    this.width = wide * this.scale;
    this.height = height * this.scale;
    this.places = this.scene.shown.places.map(([x, y]) => [x * this.scale, y * this.scale]);
  }
  centre({ node }) { return this.places[node]; }
  hit(x, y) { return nearest(this.places, x, y, 24); }
  drawBase(paint, colours, isExport, isDark) {
    const picture = this.pictures[isDark ? 1 : 0];
    if (picture.complete) paint.image(picture, 0, 0, this.width, this.height, true);
  }
  half(from, to) {  // the half of a bond beside the atom that attends
    const [x, y] = this.places[from], [toX, toY] = this.places[to];
    return `M${x} ${y}L${(x + toX) / 2} ${(y + toY) / 2}`;
  }
  drawMarks(paint, shown) {
    const isBond = (one, other) => this.bonds.has(`${one} ${other}`);
    if (this.places.length <= 300 && shown.view.queries === 0)
      for (let atom = 0; atom < this.places.length; atom++) {
        const { nodes, weights } = shown.view.of(atom, 'row');
        nodes.forEach((other, i) => {
          if (!isBond(atom, other) || !weights[i]) return;
          paint.path(this.half(atom, other), { stroke: colourOf(shown, weights[i]), width: this.thick * (3 + 11 * share(shown, weights[i])), alpha: 0.28 });
        });
      }
    const seen = new Set(shown.nodes);
    shown.nodes.forEach((node, i) => {
      const weight = shown.weights[i], [x, y] = this.places[node], style = { stroke: colourOf(shown, weight), alpha: 0.3 + 0.6 * share(shown, weight) };
      const [from, to] = shown.direction === 'row' ? [shown.node, node] : [node, shown.node];
      if (weight && isBond(from, to)) paint.path(this.half(from, to), { ...style, width: this.thick * (4 + 12 * share(shown, weight)) });
      if (weight) paint.circle(x, y, 15 * this.thick, { fill: style.stroke, alpha: 0.1 + 0.5 * share(shown, weight) });
      paint.circle(x, y, 15 * this.thick, { stroke: shown.colours.seen, width: 1 });
    });
    this.places.forEach(([x, y], atom) => {
      if (!seen.has(atom) && atom !== shown.node) paint.circle(x, y, 16 * this.thick, { fill: shown.colours.paper, alpha: 0.5 });
    });
    if (shown.node < 0) return;
    const [x, y] = this.places[shown.node];
    paint.circle(x, y, 18 * this.thick, { stroke: shown.colours.chosen, width: 2.5 });
  }
}

class Network {
  constructor(scene) {
    this.scene = scene;
    this.zoom = { factor: 1, x: 0, y: 0 };
    const mask = scene.layers[0].shape, drawn = new Set();
    this.links = [];
    for (let query = 0; query < mask.numQueries && this.links.length < 20000; query++)
      for (const key of mask.row(query)) {
        const pair = query < key ? `${query} ${key}` : `${key} ${query}`;
        if (query !== key && Math.max(query, key) < scene.shown.places.length && !drawn.has(pair)) this.links.push([query, key]);
        drawn.add(pair);
      }
  }
  layout(width) {
    this.width = Math.min(width, 860);
    this.height = Math.min(560, Math.max(320, this.width * 0.72));
    const numNodes = this.scene.shown.places.length, { factor, x, y } = this.zoom, edge = 26;
    this.radius = Math.max(2.5, Math.min(12, 130 / Math.sqrt(numNodes))) * Math.min(2.5, Math.sqrt(factor));
    this.places = this.scene.shown.places.map(([right, down]) => [
      (edge + right * (this.width - 2 * edge)) * factor + x,
      (edge + down * (this.height - 2 * edge)) * factor + y,
    ]);
  }
  zoomBy(factor, atX = this.width / 2, atY = this.height / 2) {
    const zoom = this.zoom, next = Math.max(1, Math.min(40, zoom.factor * factor)), by = next / zoom.factor;
    this.zoom = next === 1 ? { factor: 1, x: 0, y: 0 } : { factor: next, x: atX - by * (atX - zoom.x), y: atY - by * (atY - zoom.y) };
  }
  pan(x, y) { this.zoom = { ...this.zoom, x: this.zoom.x + x, y: this.zoom.y + y }; }
  get zoomed() {  // as it stands in the address: how much larger, and where the corner lies in shares of the picture
    const { factor, x, y } = this.zoom;
    return factor === 1 ? '' : [factor, x / this.width, y / this.height].map((value) => +value.toFixed(3)).join();
  }
  zoomTo(zoomed) {
    const [factor, x, y] = zoomed.split(',').map(Number);
    if (factor > 1 && Number.isFinite(x + y)) this.zoom = { factor: Math.min(40, factor), x: x * this.width, y: y * this.height };
  }
  centre({ node }) { return this.places[node]; }
  hit(x, y) { return nearest(this.places, x, y, Math.max(10, this.radius + 4)); }
  drawBase(paint, colours) {
    const lines = this.links.map(([one, other]) => `M${this.places[one].map(Math.round).join(' ')}L${this.places[other].map(Math.round).join(' ')}`);
    paint.path(lines.join(''), { stroke: colours.line, width: 1 });
    this.places.forEach((_, node) => this.drawNode(paint, colours, node));
  }
  drawNode(paint, colours, node) {
    const classes = this.scene.shown.classes, [x, y] = this.places[node];
    const fill = classes ? colours.classes[classes[node] % colours.classes.length] : colours.panel;
    paint.circle(x, y, this.radius, { fill, stroke: colours.soft, width: 0.8 });
  }
  drawMarks(paint, shown) {
    const from = this.places[shown.node], { colours } = shown, weights = new Map(Array.from(shown.nodes, (node, i) => [node, shown.weights[i]]));
    const isLeftOut = (node) => !weights.has(node) && node !== shown.node;
    const veil = ([x, y]) => paint.circle(x, y, this.radius + 1, { fill: colours.paper, alpha: 0.6 });
    if (!this.hasNames) this.places.forEach((place, node) => isLeftOut(node) && veil(place));
    for (const [node, weight] of from ? weights : [])
      paint.path(`M${from[0]} ${from[1]}L${this.places[node][0]} ${this.places[node][1]}`, weight
        ? { stroke: colourOf(shown, weight), width: 1 + 6 * share(shown, weight), alpha: 0.3 + 0.6 * share(shown, weight) }
        : { stroke: colours.seen, width: 1, dash: [3, 3] });
    this.places.forEach(([x, y], node) => {  // over the lines, which would hide names
      if (isLeftOut(node) && !this.hasNames) return;
      this.drawNode(paint, colours, node);
      if (isLeftOut(node)) return veil([x, y]);
      const weight = weights.get(node);
      if (weight) paint.circle(x, y, this.radius + 1, { fill: colourOf(shown, weight), alpha: 0.15 + 0.75 * share(shown, weight) });
      if (weights.has(node)) paint.circle(x, y, this.radius, { stroke: colours.seen, width: 1.5 });
    });
    if (from) paint.circle(...from, this.radius + 2, { stroke: colours.chosen, width: 2.5 });
    if (this.hasNames) this.drawAllNames(paint, shown, weights);
    else this.drawSomeNames(paint, shown);
  }
  get hasNames() { return this.radius >= 7; }
  drawAllNames(paint, shown, weights) {
    const names = this.scene.sides[0].labels, { ink, paper, dark } = shown.colours, { classes } = this.scene.shown;
    const strong = classes || dark === ink ? 0.8 : 0.45;
    const colourOfName = (node) => {
      if (weights.has(node) && share(shown, weights.get(node)) > strong) return paper;
      return classes && (weights.has(node) || node === shown.node) ? dark : ink;
    };
    this.places.forEach(([x, y], node) => paint.text(x, y, names[node], { fill: colourOfName(node), size: names[node].length > 3 ? 9 : 11, anchor: 'middle' }));
  }
  drawSomeNames(paint, shown) {  // of the chosen node and the strongest, where one does not cover another
    const names = this.scene.sides[0].labels, drawn = [];
    for (const node of [shown.node, ...shown.strongest.slice(0, 8).map(([node]) => node)]) {
      if (!this.places[node]) continue;
      const x = this.places[node][0] + this.radius + 3, y = this.places[node][1], end = x + 7 * names[node].length;
      if (drawn.some((other) => Math.abs(other.y - y) < 13 && x < other.end && other.x < end)) continue;
      drawn.push({ x, y, end });
      paint.text(x, y, names[node], { fill: shown.colours.ink, halo: shown.colours.paper, size: 11 });
    }
  }
}

// Nodes that a picture has no place for, such as class nodes and learned queries: a row of names under it.
class WithNames {
  constructor(picture, scene) {
    this.picture = picture;
    this.scene = scene;
    const drawn = scene.shown.places?.length ?? scene.shown.seconds?.length ?? scene.shown.rows * scene.shown.columns;
    this.numDrawn = Math.min(drawn, scene.sides[0].labels.length);
    this.named = scene.sides.flatMap(({ labels }, side) => labels.map((label, node) => ({ side, node, label })))
      .filter(({ side, node }) => side > 0 || node >= this.numDrawn);
    if (picture.move) this.move = (node, key) => picture.move(node, key);
    if (picture.zoomBy) {
      this.zoomBy = (...by) => picture.zoomBy(...by);
      this.pan = (...by) => picture.pan(...by);
      this.zoomTo = (zoomed) => picture.zoomTo(zoomed);
    }
  }
  get zoomed() { return this.picture.zoomed; }
  layout(width) {
    this.picture.layout(width);
    this.width = this.picture.width;
    let x = 2, y = this.picture.height + 10;
    for (const name of this.named) {
      const wide = 14 + 7 * name.label.length;
      if (x > 2 && x + wide > this.width) { x = 2; y += 30; }
      Object.assign(name, { x, y, width: wide, height: 22 });
      x += wide + 8;
    }
    this.height = this.named.length ? y + 30 : this.picture.height;
  }
  name(side, node) { return this.named.find((name) => name.side === side && name.node === node); }
  centre(at) {
    const name = this.name(at.side, at.node);
    return name ? [name.x + name.width / 2, name.y + 11] : this.picture.centre(at);
  }
  hit(x, y) {
    const name = this.named.find((at) => x >= at.x && x <= at.x + at.width && y >= at.y && y <= at.y + at.height);
    return name ? { side: name.side, node: name.node } : y <= this.picture.height ? this.picture.hit(x, y) : null;
  }
  drawBase(paint, colours, ...how) {
    this.picture.drawBase(paint, colours, ...how);
    for (const { x, y, width, height, label } of this.named) {
      paint.rect(x, y, width, height, { fill: colours.panel, stroke: colours.line });
      paint.text(x + width / 2, y + 11, label, { fill: colours.ink, anchor: 'middle' });
    }
  }
  drawMarks(paint, shown) {
    const inPicture = { ...shown, nodes: [], weights: [], node: this.name(shown.side, shown.node) ? -1 : shown.node };
    shown.nodes.forEach((node, i) => {
      const name = this.name(shown.otherSide, node), weight = shown.weights[i];
      if (!name) { inPicture.nodes.push(node); inPicture.weights.push(weight); return; }
      if (weight) paint.rect(name.x, name.y, name.width, name.height, { fill: colourOf(shown, weight), alpha: 0.1 + 0.6 * share(shown, weight) });
      paint.rect(name.x, name.y + name.height, name.width, 1.5, { fill: shown.colours.seen });
    });
    inPicture.strongest = shown.strongest.filter(([node]) => !this.name(shown.otherSide, node));
    this.picture.drawMarks(paint, inPicture);
    const from = this.name(shown.side, shown.node);
    if (from) paint.rect(from.x, from.y, from.width, from.height, { stroke: shown.colours.chosen, width: 2 });
  }
}

function nearest(places, x, y, within) {
  let best = within, found = null;
  places.forEach(([atX, atY], node) => {
    const far = Math.hypot(atX - x, atY - y);
    if (far <= best) { best = far; found = { side: 0, node }; }
  });
  return found;
}

function pictureOf(scene, holder, redraw) {
  const Kind = { image: Patches, sound: Sound, molecule: Molecule, network: Network }[scene.kind];
  return Kind ? new WithNames(new Kind(scene, holder, redraw), scene) : new Words(scene, holder);
}
