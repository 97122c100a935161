// Two ways to draw the same marks: on a canvas, fast, and as SVG, to be kept. Both take the same calls.

const HALO = 3;  // pixels of paper around a name that lies on lines

class CanvasPaint {
  constructor(canvas) { this.canvas = canvas; this.g = canvas.getContext('2d'); }
  open(width, height) {
    const dense = window.devicePixelRatio || 1, { canvas, g } = this;
    const wide = Math.round(width * dense), high = Math.round(height * dense);
    if (canvas.width !== wide || canvas.height !== high) { canvas.width = wide; canvas.height = high; }
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    g.setTransform(dense, 0, 0, dense, 0, 0);
    g.clearRect(0, 0, width, height);
  }
  use({ alpha = 1, fill, stroke, width = 1, dash = [] }) {
    const g = this.g;
    g.globalAlpha = alpha;
    if (fill) g.fillStyle = fill;
    if (stroke) { g.strokeStyle = stroke; g.lineWidth = width; g.setLineDash(dash); }
  }
  rect(x, y, width, height, style) {
    this.use(style);
    if (style.fill) this.g.fillRect(x, y, width, height);
    if (style.stroke) this.g.strokeRect(x, y, width, height);
  }
  circle(x, y, radius, style) {
    this.use(style);
    this.g.beginPath();
    this.g.arc(x, y, radius, 0, 7);
    if (style.fill) this.g.fill();
    if (style.stroke) this.g.stroke();
  }
  path(d, style) {
    this.use(style);
    this.g.lineCap = style.cap || 'butt';
    const path = new Path2D(d);
    if (style.fill) this.g.fill(path, style.rule || 'nonzero');
    if (style.stroke) this.g.stroke(path);
  }
  text(x, y, text, { fill, size = 12, anchor = 'start', alpha = 1, halo }) {
    this.use({ alpha, fill, stroke: halo, width: HALO });
    this.g.font = `${size}px system-ui, sans-serif`;
    this.g.textAlign = { start: 'left', middle: 'center', end: 'right' }[anchor];
    this.g.textBaseline = 'middle';
    this.g.lineJoin = 'round';
    if (halo) this.g.strokeText(text, x, y);
    this.g.fillText(text, x, y);
  }
  image(source, x, y, width, height, isSmooth = false) {
    this.use({});
    this.g.imageSmoothingEnabled = isSmooth;
    this.g.drawImage(source, x, y, width, height);
  }
}

class SvgPaint {
  constructor(width, height, paper) {
    this.name = 'http://www.w3.org/2000/svg';
    this.svg = document.createElementNS(this.name, 'svg');
    this.set(this.svg, { width, height, viewBox: `0 0 ${width} ${height}`, 'font-family': 'system-ui, sans-serif' });
    this.add('rect', { width, height }, { fill: paper });
  }
  set(element, attributes) { for (const name in attributes) element.setAttribute(name, attributes[name]); }
  add(tag, attributes, { alpha = 1, fill = 'none', stroke, width = 1, dash = [], cap } = {}) {
    const element = document.createElementNS(this.name, tag);
    this.set(element, { ...attributes, fill });
    if (alpha !== 1) element.setAttribute('opacity', alpha.toFixed(3));
    if (stroke) this.set(element, { stroke, 'stroke-width': width });
    if (dash.length) element.setAttribute('stroke-dasharray', dash.join(' '));
    if (cap) element.setAttribute('stroke-linecap', cap);
    this.svg.append(element);
    return element;
  }
  rect(x, y, width, height, style) { this.add('rect', { x, y, width, height }, style); }
  circle(cx, cy, r, style) { this.add('circle', { cx, cy, r }, style); }
  path(d, style) { this.add('path', style.rule ? { d, 'fill-rule': style.rule } : { d }, style); }
  text(x, y, text, { fill, size = 12, anchor = 'start', alpha = 1, halo }) {
    const at = { x, y, 'font-size': size, 'text-anchor': anchor, 'dominant-baseline': 'central' };
    if (halo) Object.assign(at, { 'paint-order': 'stroke', 'stroke-linejoin': 'round' });
    this.add('text', at, { alpha, fill, stroke: halo, width: HALO }).textContent = text;
  }
  image(source, x, y, width, height, isSmooth = false) {
    const href = source instanceof HTMLCanvasElement ? source.toDataURL() : source.src;
    this.add('image', { x, y, width, height, href, preserveAspectRatio: 'none', 'image-rendering': isSmooth ? 'auto' : 'pixelated' });
  }
  get source() { return new XMLSerializer().serializeToString(this.svg); }
}

// Pixels [height, width, 3], or one value in 0 .. 255 each, as a canvas that can be drawn.
function canvasOf(width, height, colourAt) {
  const canvas = document.createElement('canvas'), g = canvas.getContext('2d');
  canvas.width = width;
  canvas.height = height;
  const image = g.createImageData(width, height);
  for (let at = 0; at < width * height; at++) image.data.set([...colourAt(at), 255], 4 * at);
  g.putImageData(image, 0, 0);
  return canvas;
}
