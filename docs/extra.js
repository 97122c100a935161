// Formulas by KaTeX; and what is copied from a session of Python has no prompts and no answers.
addEventListener('DOMContentLoaded', () => {
  if (window.renderMathInElement)
    renderMathInElement(document.body, {
      delimiters: [{ left: '\\(', right: '\\)', display: false }, { left: '\\[', right: '\\]', display: true }],
      throwOnError: false,
    });
  document.querySelectorAll('.slider').forEach(drawSlider);
});

// A wide picture is small on a telephone: alone, it can be zoomed.
document.addEventListener('click', (event) => {
  const picture = event.target.closest?.('article img');
  if (picture && !picture.closest('a')) location.href = picture.src;
});

addEventListener('copy', (event) => {
  const text = getSelection().toString();
  if (!/^(>>>|\.\.\.) /m.test(text)) return;
  event.clipboardData.setData('text/plain', withoutPrompts(text));
  event.preventDefault();
});

document.addEventListener('click', (event) => {  // the button of a block
  const button = event.target.closest?.('[data-clipboard-target], .md-clipboard, .md-code__button[data-md-type=copy]');
  const code = button?.closest('.highlight')?.querySelector('code');
  if (!code || !/^(>>>|\.\.\.) /m.test(code.textContent)) return;
  event.stopImmediatePropagation();
  event.preventDefault();
  const copied = withoutPrompts(code.textContent);
  navigator.clipboard?.writeText(copied).catch(() => {});
  button.dataset.copied = copied;
}, true);

function withoutPrompts(text) {
  const lines = text.split('\n').filter((line) => /^(>>>|\.\.\.)( |$)/.test(line));
  return lines.map((line) => line.slice(4)).join('\n') + '\n';
}

// Numbers that are the point, to be moved: the window of a band, the number of heads, the temperature of a softmax.
const SLIDERS = {
  window: {
    label: 'nodes to either side', min: 0, max: 47, value: 4, step: 1, width: 48, height: 48,
    draw(g, reach) {
      let edges = 0;
      for (let query = 0; query < 48; query++)
        for (let key = 0; key < 48; key++) if (Math.abs(query - key) <= reach) { edges++; g.fillRect(key, query, 1, 1); }
      return ` BandedGraph(48, ${reach}, ${reach}): ${edges} of ${48 * 48} pairs`;
    },
  },
  heads: {
    label: 'heads, by powers of two', min: 0, max: 6, value: 2, step: 1, width: 192, height: 24,
    draw(g, power) {
      const heads = 2 ** power, channels = 64 / heads;
      for (let channel = 0; channel < 64; channel++) {
        g.globalAlpha = Math.floor(channel / channels) % 2 ? 0.45 : 1;
        g.fillRect(3 * channel, 0, channels > 1 && (channel + 1) % channels ? 3 : 2, 24);
      }
      g.globalAlpha = 1;
      const many = (count, one) => `${count} ${one}${count > 1 ? 's' : ''}`;
      return ` GraphAttention(64, ${channels}, heads=${heads}): ${many(heads, 'way')} to weigh each edge, each a fit of ${many(channels, 'number')}`;
    },
  },
  temperature: {
    label: 'temperature', min: 0.1, max: 4, value: 1, step: 0.1, width: 160, height: 80,
    draw(g, temperature) {
      const raised = [2, 1, 0.5, -1].map((score) => Math.exp(score / temperature)), sum = raised.reduce((a, b) => a + b);
      const weights = raised.map((part) => part / sum);
      weights.forEach((weight, place) => g.fillRect(8 + 38 * place, 80 - 76 * weight, 30, 76 * weight));
      return ` softmax of 2, 1, 0.5 and -1, divided by ${temperature.toFixed(1)}: ${weights.map((weight) => weight.toFixed(2)).join(', ')}`;
    },
  },
};

function drawSlider(holder) {
  const { label, draw, width, height, ...range } = SLIDERS[holder.dataset.kind];
  const input = Object.assign(document.createElement('input'), { type: 'range', ...range });
  input.value = range.value;
  const says = document.createElement('span'), canvas = Object.assign(document.createElement('canvas'), { width, height });
  canvas.style.width = '240px';
  input.setAttribute('aria-label', label);
  says.setAttribute('aria-live', 'polite');
  holder.append(input, says, canvas);
  const redraw = () => {
    const g = canvas.getContext('2d');
    g.clearRect(0, 0, width, height);
    g.fillStyle = '#c2591a';
    says.textContent = draw(g, +input.value);
  };
  input.oninput = redraw;
  redraw();
}
