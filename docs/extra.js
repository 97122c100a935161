// Formulas by KaTeX; and what is copied from a session of Python has no prompts and no answers.
addEventListener('DOMContentLoaded', () => {
  if (window.renderMathInElement)
    renderMathInElement(document.body, {
      delimiters: [{ left: '\\(', right: '\\)', display: false }, { left: '\\[', right: '\\]', display: true }],
      throwOnError: false,
    });
  document.querySelectorAll('.slider').forEach(drawSlider);
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

// A mask that follows a slider: how many edges a window has.
function drawSlider(holder) {
  const count = 48, input = Object.assign(document.createElement('input'), { type: 'range', min: 0, max: count - 1, value: 4 });
  const says = document.createElement('span'), canvas = Object.assign(document.createElement('canvas'), { width: count, height: count });
  canvas.style.width = '240px';
  input.setAttribute('aria-label', 'words to either side');
  says.setAttribute('aria-live', 'polite');
  holder.append(input, says, canvas);
  const draw = () => {
    const window_ = +input.value, g = canvas.getContext('2d');
    let edges = 0;
    g.clearRect(0, 0, count, count);
    g.fillStyle = '#c2591a';
    for (let query = 0; query < count; query++)
      for (let key = 0; key < count; key++) if (Math.abs(query - key) <= window_) { edges++; g.fillRect(key, query, 1, 1); }
    says.textContent = ` BandedGraph(${count}, ${window_}, ${window_}): ${edges} of ${count * count} pairs`;
  };
  input.oninput = draw;
  draw();
}
