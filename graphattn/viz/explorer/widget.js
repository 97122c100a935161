// The page in a frame without rights of its own; it tells what is looked at, and that becomes the trait `state`.
function render({ model, el }) {
  const frame = document.createElement('iframe');
  frame.setAttribute('sandbox', 'allow-scripts allow-downloads');
  frame.title = 'attention explorer';
  frame.style.cssText = `width: 100%; height: ${model.get('height')}px; border: 0`;
  frame.srcdoc = model.get('page');
  const listen = (event) => {
    if (event.source !== frame.contentWindow || !event.data || !event.data.graphattn) return;
    model.set('state', event.data.graphattn);
    model.save_changes();
  };
  window.addEventListener('message', listen);
  el.append(frame);
  return () => window.removeEventListener('message', listen);
}
export default { render };
