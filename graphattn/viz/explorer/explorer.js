// The page: what is chosen, what is said about it, and how it is redrawn.

const at = (id) => document.getElementById(id);
const make = (tag, text, about = {}) => Object.assign(document.createElement(tag), { textContent: text, ...about });
const data = JSON.parse(at('data').textContent);

for (const scene of data.scenes) {
  scene.layers = scene.layers.map((layer) => new Layer(layer, scene.sides));
  scene.views = [];
  for (const layer of scene.layers)
    for (let head = 0; head < layer.heads; head++) scene.views.push(new View(layer, head, scene.views.length));
}
const ORDERS = { layer: 'layer', narrow: 'spread, narrow first', wide: 'spread, wide first', near: 'distance, near first', far: 'distance, far first' };
const START = { scene: 0, first: 0, second: -1, direction: 'row', scale: 'row', order: 'layer', side: -1, node: 0, kept: 0, step: 0, zoom: '', theme: '' };
const MOST_ROWS = 12;

let state = { ...START }, scene, picture, isExport = false, redrawing = 0;
const paints = ['base', 'marks', 'veil'].map((id) => new CanvasPaint(at(id)));

// What is chosen stands in the address: a link shows what its sender saw -----------------------------------------------

function readAddress() {
  state = { ...START };
  for (const [name, value] of new URLSearchParams(location.hash.slice(1)))
    if (name in START) state[name] = typeof START[name] === 'number' ? Math.trunc(+value) || 0 : value;
  const within = (value, count) => (value >= 0 && value < count ? value : 0);
  state.scene = within(state.scene, data.scenes.length);
  const { views, sides, main } = data.scenes[state.scene];
  if (main && !/\bfirst=/.test(location.hash)) state.first = views.findIndex((one) => one.queries !== one.keys);  // what it reads
  state.first = within(state.first, views.length);
  if (!(state.second < others().length)) state.second = -1;
  if (!(state.side >= 0 && state.side < sides.length)) state.side = views[state.first].queries;
  state.node = within(state.node, sides[state.side].labels.length);
  if (!(state.order in ORDERS)) state.order = 'layer';
  if (state.direction !== 'column') state.direction = 'row';
  if (state.scale !== 'all') state.scale = 'row';
}

function writeAddress() {
  const changed = Object.entries(state).filter(([name, value]) => (value !== START[name] || (name === 'first' && scene.main)) && !(name === 'side' && value === scene.views[state.first].queries));
  const hash = `#${new URLSearchParams(changed)}`;
  try { history.replaceState(null, '', hash); } catch { /* in a frame of a notebook there is no address */ }
  if (parent !== window) parent.postMessage({ graphattn: { ...state, label: view().label, name: scene.sides[state.side].labels[state.node] } }, '*');
}

// Heads that can be taken away from the one that is shown: of this input and of others ---------------------------------

function others() {
  const first = data.scenes[state.scene].views[state.first], many = data.scenes.length > 1;
  return data.scenes.flatMap((from, number) => from.views.filter((other) => fits(first, other) && other !== first)
    .map((other) => ({ view: other, label: many && number !== state.scene ? `${from.title}: ${other.label}` : other.label, key: number * 100000 + other.number })));
}
const pairs = new Map();
function view() {
  const first = scene.views[state.first], other = state.second < 0 ? null : others()[state.second];
  if (!other) return first;
  const key = `${state.scene} ${state.first} ${other.key}`;
  if (!pairs.has(key)) {
    const pair = new Difference(first, other.view);
    pair.label = `${first.label} minus ${other.label}`;
    pairs.set(key, pair);
  }
  return pairs.get(key);
}

// Colours, from the style sheet ----------------------------------------------------------------------------------------

const isDark = () => document.documentElement.dataset.theme === 'dark';
let colours = {};
function readColours() {
  document.documentElement.dataset.theme = state.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
  const style = getComputedStyle(document.documentElement);
  for (const name of ['ink', 'soft', 'paper', 'panel', 'line', 'weight', 'more', 'less', 'chosen', 'seen']) colours[name] = style.getPropertyValue(`--${name}`).trim();
  colours.dark = isDark() ? colours.paper : colours.ink;
  colours.classes = ['#7fb3e6', '#f2c078', '#8fd3b6', '#d9a5d0', '#c9c16d', '#9fa8b8', '#e39a8a', '#7fd1dd'];
}
const blend = (share) => {  // between paper and the colour of weights
  const parse = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16)), [from, to] = [parse(colours.paper), parse(colours.weight)];
  return from.map((part, i) => Math.round(part + (to[i] - part) * share));
};

// The small pictures of the heads: rows attend to columns, one scale for all of them -----------------------------------

const SIDE = 48;
function drawSmall(canvas, shown, top) {
  const { shape, numQueries, numKeys, low, span, kept } = shown.layer, cells = new Float32Array(SIDE * SIDE).fill(-1), raw = shown.layer.raw;
  const rows = Math.min(SIDE, numQueries), columns = Math.min(SIDE, numKeys);
  for (let query = 0; query < numQueries; query++) {
    const line = Math.floor((query * rows) / numQueries) * SIDE, start = shape.starts[query], from = shown.head * shape.numEdges + start, nodes = shape.row(query);
    for (let i = 0; i < nodes.length; i++) {
      const cell = line + Math.floor((nodes[i] * columns) / numKeys), weight = kept ? 0 : Math.abs(low + span * raw[from + i]);
      if (weight > cells[cell]) cells[cell] = weight;
    }
    for (let i = 0; kept && i < kept; i++) {
      const place = (shown.head * numQueries + query) * kept + i, key = shown.layer.best[place], weight = Math.abs(low + span * raw[place]);
      const cell = line + Math.floor((key * columns) / numKeys);
      if (key < numKeys && weight > cells[cell]) cells[cell] = weight;
    }
  }
  const drawn = canvasOf(columns, rows, (place) => {
    const weight = cells[Math.floor(place / columns) * SIDE + (place % columns)];
    return blend(weight < 0 ? 0 : 0.09 + 0.91 * Math.sqrt(Math.min(1, weight / top)));
  });
  canvas.width = columns;
  canvas.height = rows;
  canvas.getContext('2d').drawImage(drawn, 0, 0);
}

function sorted() {
  const by = { narrow: (one) => one.spread, wide: (one) => -one.spread, near: (one) => one.distance ?? Infinity, far: (one) => -(one.distance ?? -Infinity) }[state.order];
  return by ? [...scene.views].sort((one, other) => by(one) - by(other) || one.number - other.number) : scene.views;
}

let waiting = 0;
function drawHeads() {
  const holder = at('heads'), list = sorted(), most = largestOfScene();
  holder.replaceChildren();
  scene.buttons = new Map();
  for (const shown of list) {
    const button = make('button', '', { type: 'button' }), top = make('span', '', { className: 'top' });
    button.setAttribute('role', 'radio');
    button.dataset.view = shown.number;
    button.append(document.createElement('canvas'), make('span', shown.label.replace(/(layer|head) /g, '$1\u00a0')), top);
    const far = shown.distance === null ? '' : `, ${shown.distance.toFixed(scene.unit === 's' ? 3 : 1)} ${scene.unit} away on average`;
    button.title = `${shown.label}: spread over ${shown.spread.toFixed(1)} ${scene.sides[shown.keys].many} on average${far}`;
    button.onclick = () => change({ first: shown.number, second: -1, side: sideFor(shown) });
    holder.append(button);
    scene.buttons.set(shown.number, { button, top, canvas: button.firstChild });
  }
  const run = ++waiting;  // a few at a time, so that the page answers meanwhile
  const next = (number) => {
    if (run !== waiting || number >= list.length) return;
    const until = performance.now() + 8;
    do drawSmall(scene.buttons.get(list[number].number).canvas, list[number], most); while (++number < list.length && performance.now() < until);
    setTimeout(next, 0, number);
  };
  setTimeout(next, 0, 0);
}
const largestOfScene = () => (scene.largest ??= Math.max(...scene.views.filter((one) => !one.layer.rollout).map((one) => Math.max(Math.abs(one.layer.low), one.layer.high))));
const sideFor = (shown) => (state.side === shown.queries || state.side === shown.keys ? state.side : shown.queries);

// What is shown: the chosen node, those on the other end of its edges, and their weights --------------------------------

function shownNow() {
  const one = view(), { side, node } = state;
  const isQuery = side === one.queries, isKey = side === one.keys;
  if (!isQuery && !isKey) return null;
  const direction = isQuery && isKey ? state.direction : isQuery ? 'row' : 'column';
  let { nodes, weights } = one.of(node, direction);
  const written = scene.steps ? writtenNow() : 0, otherSide = direction === 'row' ? one.keys : one.queries;
  if (scene.steps && otherSide === scene.steps.side) {  // what is not yet written neither sees nor is seen
    const kept = Array.from(nodes, (other, i) => [other, weights[i]]).filter(([other]) => other < written);
    [nodes, weights] = [kept.map(([other]) => other), kept.map(([, weight]) => weight)];
  }
  const strongest = [];
  for (let i = 0; i < nodes.length; i++) if (weights[i]) strongest.push([nodes[i], weights[i]]);
  strongest.sort((one, other) => Math.abs(other[1]) - Math.abs(one[1]));
  const isDifference = one instanceof Difference;
  const top = state.scale === 'all' ? (one.layer.rollout ? one.largest : isDifference ? one.largest : largestOfScene()) : Math.abs(strongest[0]?.[1] ?? 0);
  return { view: one, direction, side, node, otherSide, nodes, weights, strongest, top, isDifference, colours, written, steps: scene.steps };
}
const writtenNow = () => Math.max(1, state.step || scene.sides[scene.steps.side].labels.length);
const nameOf = (side, node) => {
  const { labels, numbers } = scene.sides[side];
  return numbers && labels[node] !== String(numbers[node]) ? `${labels[node]} (${numbers[node]})` : labels[node];
};

function draw() {
  redrawing = 0;
  const started = performance.now(), shown = shownNow(), [, marks, veil] = paints;
  marks.open(picture.width, picture.height);
  veil.open(picture.width, picture.height);
  if (shown) {
    picture.drawMarks(marks, shown);
    picture.drawVeil?.(veil, shown);
  }
  const top = at('legend').querySelector('.top');
  top.textContent = !shown ? '' : shown.isDifference ? `−${percent(shown.top)} … +${percent(shown.top)}` : `0 … ${percent(shown.top)}`;
  say(shown);
  showTable(shown);
  showPredictions();
  for (const [number, { button, top }] of scene.buttons) {
    const isShown = number === state.first;
    if (button.ariaChecked !== String(isShown)) { button.ariaChecked = isShown; button.tabIndex = isShown ? 0 : -1; }
    top.textContent = topOf(scene.views[number]).replace(' %', '\u00a0%');
  }
  writeAddress();
  draw.milliseconds = performance.now() - started;
}
const redraw = () => (redrawing ||= requestAnimationFrame(draw));

function topOf(one) {  // whom the chosen node attends to most in this head
  const isQuery = state.side === one.queries;
  if (!isQuery && state.side !== one.keys) return '';
  const { nodes, weights } = one.of(state.node, isQuery && (state.direction === 'row' || one.keys !== one.queries) ? 'row' : 'column');
  let best = -1;
  for (let i = 0; i < nodes.length; i++) if (best < 0 || weights[i] > weights[best]) best = i;
  const side = isQuery && (state.direction === 'row' || one.keys !== one.queries) ? one.keys : one.queries;
  return best < 0 ? '–' : `${scene.sides[side].labels[nodes[best]]} ${percent(weights[best])}`;
}

function say(shown) {
  const { one } = scene.sides[state.side];
  if (!shown) {
    at('say').textContent = `${view().label}: a ${one} has no part in it. Choose another head.`;
    return;
  }
  const { many, one: single } = scene.sides[shown.otherSide], count = shown.nodes.length, name = `“${nameOf(shown.side, shown.node)}”`;
  const total = scene.sides[shown.otherSide].labels.length, show = shown.isDifference ? signed : percent;
  const best = shown.strongest.slice(0, 3).map(([node, weight]) => `“${nameOf(shown.otherSide, node)}” ${show(weight)}`).join(', ');
  const clear = shown.strongest.filter(([, weight]) => Math.abs(weight) >= 0.01).length;
  const verb = shown.view.layer.rollout ? (shown.direction === 'row' ? 'has in it' : 'is in') : shown.direction === 'row' ? 'may see' : 'may be seen by';
  const most = shown.isDifference ? 'differs most at' : shown.direction === 'row' ? 'most of all' : 'most of all by';
  at('say').textContent = count
    ? `${shown.view.label}: ${name} ${verb} ${count} of ${total} ${many}, ${clear} of them with 1 % or more; ${most}: ${best || 'none'}.`
    : `${shown.view.label}: ${name} ${verb} no ${single}.`;
  at('stage').setAttribute('aria-label', `${scene.title}: ${one} ${state.node + 1} of ${scene.sides[state.side].labels.length}`);
}

function showTable(shown) {
  const table = at('weights'), [caption, head, body] = [table.caption, table.tHead, table.tBodies[0]];
  const rows = shown ? shown.strongest.slice(0, MOST_ROWS) : [];
  caption.textContent = !shown ? '' : shown.strongest.length > MOST_ROWS ? `the ${MOST_ROWS} largest of ${shown.strongest.length}` : '';
  const names = !shown ? [] : shown.isDifference ? ['', 'shown', 'minus', 'difference'] : [scene.sides[shown.otherSide].one, 'weight'];
  head.replaceChildren(make('tr', ''));
  head.firstChild.append(...names.map((name) => make('th', name, { scope: 'col' })));
  const weightIn = (one, node) => {
    const { nodes, weights } = one.of(shown.node, shown.direction), place = nodes.indexOf(node);
    return place < 0 ? 'no edge' : percent(weights[place]);
  };
  body.replaceChildren(...rows.map(([node, weight]) => {
    const row = make('tr', '');
    row.dataset.node = node;
    const cells = shown.isDifference ? [weightIn(shown.view.first, node), weightIn(shown.view.second, node), signed(weight)] : [percent(weight)];
    row.append(make('td', nameOf(shown.otherSide, node)), ...cells.map((cell) => make('td', cell)));
    return row;
  }));
}

// What the model says of the input, or of the chosen node ---------------------------------------------------------------

function showPredictions() {
  const holder = at('predictions');
  holder.replaceChildren();
  for (const found of scene.predictions) {
    if (found.of_nodes && state.side !== found.side) continue;
    const node = found.of_nodes ? state.node : 0, name = found.of_nodes ? `“${nameOf(found.side, node)}”` : 'the input';
    const what = scene.steps ? `after ${name} the model writes` : `the model says of ${name}`;
    holder.append(make('div', `${found.model ? `${found.model}: ` : ''}${what}`));
    const next = scene.steps && found.of_nodes ? scene.sides[found.side].labels[node + 1] : null;
    const truth = found.truth ? found.truth[node] : next;
    for (const [label, share] of found.likeliest?.[node] ?? []) {
      const line = make('div', '', { className: label === truth ? 'true' : '' });
      const bar = make('progress', '', { value: share, max: 1 });
      bar.setAttribute('aria-label', `${label} ${percent(share)}`);
      line.append(bar, ` ${label} ${percent(share)}`);
      holder.append(line);
    }
    if (found.values) holder.append(make('div', found.values[node]));
    if (truth !== null && truth !== undefined) holder.append(make('div', scene.steps ? `next in the text: “${truth}”` : `true: ${truth}`));
  }
}

// The parts around the picture -----------------------------------------------------------------------------------------

function fillSelect(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, label]) => make('option', label, { value })));
  select.value = chosen;
}

function showControls() {
  fillSelect(at('first'), scene.views.map((one) => [one.number, one.label]), state.first);
  fillSelect(at('second'), [[-1, 'nothing'], ...others().map(({ label }, i) => [i, label])], state.second);
  const hasDistance = scene.views.some((one) => one.distance !== null);
  fillSelect(at('order'), Object.entries(ORDERS).filter(([name]) => hasDistance || !['near', 'far'].includes(name)), state.order);
  at('direction').value = state.direction;
  at('scale').value = state.scale;
  const one = view(), warning = at('warning'), isRollout = one.layer.rollout || one.second?.layer.rollout;
  warning.hidden = !isRollout;
  warning.textContent = isRollout ? 'The rollout multiplies the attention of all layers. It knows no values, no feed-forward layers and no signs: it is no explanation of what the model says.' : '';
  const legend = one instanceof Difference
    ? [['change', ''], ['self', 'chosen'], ['may', 'may see'], ['not', 'may not see']]
    : [['weight', ''], ['self', 'chosen'], ['may', 'may see'], ['not', 'may not see']];
  at('legend').replaceChildren(...legend.map(([name, text]) => {
    const entry = make('span', '');
    entry.append(make('i', '', { className: name }), make('span', text, { className: text ? '' : 'top' }));
    return entry;
  }));
}

function showTools() {
  const tools = at('tools');
  tools.replaceChildren();
  const button = (text, action, label = text) => {
    const made = make('button', text, { type: 'button', onclick: action });
    made.setAttribute('aria-label', label);
    tools.append(made);
    return made;
  };
  if (picture.zoomBy) {
    button('+', () => zoom(1.5), 'larger');
    button('−', () => zoom(1 / 1.5), 'smaller');
    button('whole', () => zoom(0), 'the whole network');
  }
  if (scene.kind === 'sound') button('play', play).id = 'play';
  if (scene.steps) {
    const { side, given } = scene.steps, length = scene.sides[side].labels.length;
    const slider = make('input', '', { type: 'range', id: 'step', min: Math.min(given, length), max: length, value: writtenNow() });
    const label = make('label', 'written so far ');
    label.append(slider);
    slider.oninput = () => writeTo(+slider.value);
    tools.append(label);
    button('write', write).id = 'write';
  }
  button('save as SVG', saveSvg).id = 'svg';
}

function writeTo(count) {  // the last word that is there looks back and writes the next
  const slider = at('step');
  slider.value = count;
  change({ step: count, side: scene.steps.side, node: count - 1, kept: 1 });
}
let writing = 0;
function write() {
  clearInterval(writing);
  const { max, min } = at('step');
  let count = +min;
  writeTo(count);
  writing = setInterval(() => (count < +max && at('step') ? writeTo(++count) : clearInterval(writing)), 600);
}

function zoom(factor, x, y) {
  picture.zoomBy(factor || 1e-9, x, y);
  state.zoom = picture.zoomed;
  layout();
}
function pan(x, y) {
  picture.pan(x, y);
  state.zoom = picture.zoomed;
  layout();
}

let audio = null, playing = 0;
function play() {
  const { samples, seconds } = scene.shown;
  if (playing) return stop();
  let source = null, start = performance.now() / 1000, clock = () => performance.now() / 1000 - start;
  if (samples) {
    audio ??= new AudioContext();
    const values = new Int16Array(bytesOf(samples.text).buffer), buffer = audio.createBuffer(1, Math.max(1, values.length), samples.rate);
    buffer.getChannelData(0).set(Float32Array.from(values, (value) => value / 32767));
    source = audio.createBufferSource();
    source.buffer = buffer;
    source.connect(audio.destination);
    source.start();
  }
  at('play').textContent = 'stop';
  const shown = scene, follow = () => {  // the frame that is heard is the one that looks
    const time = clock(), node = seconds.findIndex((second, i) => time < (i + 1 < seconds.length ? (second + seconds[i + 1]) / 2 : Infinity));
    if (scene !== shown || time > seconds.at(-1) + 0.05) return stop();
    if (node !== state.node) change({ node, side: 0 });
    playing = requestAnimationFrame(follow);
  };
  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    try { source?.stop(); } catch { /* it has ended by itself */ }
    if (at('play')) at('play').textContent = 'play';
  }
  play.stop = stop;
  playing = requestAnimationFrame(follow);
}

function svgOf() {
  const shown = shownNow(), below = 26, paint = new SvgPaint(Math.ceil(picture.width), Math.ceil(picture.height + below), colours.paper);
  picture.drawBase(paint, colours, true, isDark());
  if (shown) {
    picture.drawMarks(paint, shown);
    picture.drawVeil?.(paint, shown);
  }
  paint.text(2, picture.height + below / 2, `${scene.title}, ${view().label}: “${nameOf(state.side, state.node)}”`, { fill: colours.ink, size: 12 });
  return paint.source;
}
function saveSvg() {
  const link = make('a', '', { download: `attention-${scene.title}-${state.node}.svg`.replace(/[^\w.-]+/g, '-') });
  link.href = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svgOf())}`;
  link.click();
}

function layout() {
  const stage = at('stage');
  picture.layout(Math.max(200, at('frame').clientWidth));
  stage.style.width = `${picture.width}px`;
  stage.style.height = `${picture.height}px`;
  const [base, , veil] = paints;
  base.open(picture.width, picture.height);
  veil.open(picture.width, picture.height);
  picture.drawBase(base, colours, false, isDark());
  redraw();
}

function openScene() {
  play.stop?.();
  clearInterval(writing);
  scene = data.scenes[state.scene];
  at('text').replaceChildren();
  picture = pictureOf(scene, at('text'), () => layout());
  at('scenes').replaceChildren(...(data.scenes.length < 2 ? [] : data.scenes.map(({ title }, number) => {
    const tab = make('button', title, { type: 'button', onclick: () => number !== state.scene && open({ scene: number }) });
    tab.setAttribute('role', 'tab');
    tab.setAttribute('aria-selected', number === state.scene);
    return tab;
  })));
  at('notes').replaceChildren(...scene.notes.map((note) => make('li', note)));
  showControls();
  showTools();
  drawHeads();
  layout();
  if (picture.zoomBy && state.zoom) {
    picture.zoomTo(state.zoom);
    layout();
  }
}
function open(chosen) {
  const tabs = at('scenes'), hadFocus = tabs.contains(document.activeElement);
  history.replaceState(null, '', `#${new URLSearchParams({ theme: state.theme, ...chosen })}`);
  readAddress();
  openScene();
  if (hadFocus) tabs.querySelector('[aria-selected=true]').focus();
}

function change(chosen) {
  const before = { ...state };
  Object.assign(state, chosen);
  const isOtherView = before.first !== state.first;
  if (isOtherView && chosen.second === undefined) state.second = -1;
  if (isOtherView || before.second !== state.second || before.direction !== state.direction || before.scale !== state.scale) showControls();
  if (before.order !== state.order) drawHeads();
  redraw();
}

// What a person does ----------------------------------------------------------------------------------------------------

const placeOf = (event) => {
  const { left, top } = at('stage').getBoundingClientRect();
  return [event.clientX - left, event.clientY - top];
};
let drag = null;
at('stage').addEventListener('pointermove', (event) => {
  const [x, y] = placeOf(event);
  if (drag && picture.pan && (drag.moved ||= Math.hypot(x - drag.x, y - drag.y) > 4)) {
    pan(x - drag.x, y - drag.y);
    return Object.assign(drag, { x, y });
  }
  const found = picture.hit(x, y);
  if (found && !state.kept && !playing && (found.node !== state.node || found.side !== state.side)) change(found);
});
at('stage').addEventListener('pointerdown', (event) => {
  const [x, y] = placeOf(event);
  drag = { x, y, moved: false };
});
addEventListener('pointerup', () => setTimeout(() => (drag = null)));
at('stage').addEventListener('click', (event) => {
  if (drag?.moved) return;
  const found = picture.hit(...placeOf(event));
  if (found) change({ ...found, kept: state.kept && found.node === state.node && found.side === state.side ? 0 : 1 });
});
at('stage').addEventListener('wheel', (event) => {
  if (!picture.zoomBy || !(event.ctrlKey || event.metaKey)) return;  // the wheel alone scrolls the page
  event.preventDefault();
  zoom(event.deltaY < 0 ? 1.25 : 0.8, ...placeOf(event));
}, { passive: false });

function move(key) {
  const count = scene.sides[state.side].labels.length;
  let node = picture.move ? picture.move(state.node, key) : state.node + ({ ArrowRight: 1, ArrowLeft: -1 }[key] || 0);
  if (scene.sides.length > 1 && !picture.move && (key === 'ArrowDown' || key === 'ArrowUp')) {
    const side = 1 - state.side;
    return change({ side, node: Math.min(state.node, scene.sides[side].labels.length - 1), kept: 1 });
  }
  if (!picture.move && (key === 'ArrowDown' || key === 'ArrowUp')) node = state.node + (key === 'ArrowDown' ? 1 : -1);
  change({ node: Math.max(0, Math.min(count - 1, node)), kept: 1 });
  scrollTo();
}
function scrollTo() {  // what the keys choose comes into sight, in a long text and in a picture that is zoomed
  const frame = at('frame'), [x, y] = picture.centre(state), { width, height } = picture;
  if (picture.zoomBy && (x < 0 || x > width || y < 0 || y > height)) pan(width / 2 - x, height / 2 - y);
  else if (y < frame.scrollTop + 20 || y > frame.scrollTop + frame.clientHeight - 20) frame.scrollTop = y - frame.clientHeight / 2;
}
const KEYS = {
  Escape: () => change({ kept: 0 }),
  n: () => stepHead(1),
  p: () => stepHead(-1),
  r: () => change({ direction: state.direction === 'row' ? 'column' : 'row' }),
  d: () => turnTheme(),
};
function stepHead(by) {
  const list = sorted(), place = list.findIndex(({ number }) => number === state.first), next = list[(place + by + list.length) % list.length];
  change({ first: next.number, side: sideFor(next) });
}
addEventListener('keydown', (event) => {
  const isField = ['SELECT', 'INPUT'].includes(event.target.tagName) && event.key !== 'Escape';
  if (event.ctrlKey || event.metaKey || event.altKey || isField) return;
  const isMove = event.key.startsWith('Arrow');
  if (isMove && event.target.closest?.('#heads')) {
    stepHead(event.key === 'ArrowRight' || event.key === 'ArrowDown' ? 1 : -1);
    scene.buttons.get(state.first).button.focus();
  } else if (isMove) move(event.key);
  else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
});

function turnTheme() {
  state.theme = isDark() ? 'light' : 'dark';
  readColours();
  drawHeads();
  layout();
}
at('theme').onclick = turnTheme;
at('first').onchange = (event) => change({ first: +event.target.value, side: sideFor(scene.views[+event.target.value]) });
at('second').onchange = (event) => change({ second: +event.target.value });
at('direction').onchange = (event) => change({ direction: event.target.value });
at('scale').onchange = (event) => change({ scale: event.target.value });
at('order').onchange = (event) => change({ order: event.target.value });
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { readColours(); drawHeads(); layout(); });
addEventListener('hashchange', () => { readAddress(); readColours(); openScene(); });
let lastWidth = 0;
new ResizeObserver(() => {
  if (lastWidth && lastWidth !== at('stage').clientWidth) layout();
  lastWidth = at('stage').clientWidth;
}).observe(at('show'));

document.querySelector('h1').textContent = data.title;
readAddress();
readColours();
openScene();
draw();
scrollTo();
document.body.dataset.ready = Math.round(performance.now());  // milliseconds from opening the file to the first picture
