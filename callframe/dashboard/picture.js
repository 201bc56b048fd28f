// Shows the image of a plot and answers in the browser: a tooltip on its marks, a band dragged over a time axis, the
// arrow keys from mark to mark. Boxes of marks and axes are fractions of the image, from its top left.
const DRAG_PX = 4;
const SETTLED_MS = 150;
const TALL_PX = 640; // taller plots scroll within

function render({ model, el }) {
  el.innerHTML = `<figure tabindex="0" role="group"><img draggable="false"><i class="band"></i><i class="mark"></i><p class="tip" role="tooltip"></p>
    <p class="unseen" aria-live="polite"></p></figure><figcaption></figcaption>`;
  const [figure, image, band, outline, tip, spoken] = ['figure', 'img', '.band', '.mark', '.tip', '.unseen'].map(one => el.querySelector(one));
  const hidden = [band, outline, tip];
  let from = null; // where a drag began: its axis and x
  let current = -1; // the mark that the arrow keys have reached

  const hide = () => hidden.forEach(one => (one.hidden = true));
  const show = () => {
    image.src = model.get('url');
    image.alt = model.get('alt');
    image.style.aspectRatio = model.get('shape').join('/');
    image.style.width = `${model.get('shape')[0]}px`;
    el.querySelector('figcaption').textContent = model.get('caption');
    figure.setAttribute('aria-label', model.get('marks').length ? 'Plot: the arrow keys move over its parts' : 'Plot');
    figure.classList.toggle('tall', model.get('shape')[1] > TALL_PX);
    figure.dataset.timeAxis = JSON.stringify(model.get('time_axes')[0] ?? null);
    current = -1;
    hide();
  };
  const place = event => {
    const box = image.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  const within = ([x, y]) => ([left, top, width, height]) => x >= left && x <= left + width && y >= top && y <= top + height;
  const markAt = point => model.get('marks').findLastIndex(([box]) => within(point)(box));
  const axisAt = point => model.get('time_axes').find(([box]) => within(point)(box));
  const lay = (one, [left, top, width, height]) => {
    Object.assign(one.style, { left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * width}%`, height: `${100 * height}%` });
    one.hidden = false;
  };
  const point = (index, at) => {
    const mark = model.get('marks')[index];
    outline.hidden = tip.hidden = !mark;
    figure.style.cursor = mark && Object.keys(mark[2]).length ? 'pointer' : axisAt(at ?? [-1, -1]) ? 'crosshair' : '';
    if (!mark) return;
    const [[left, top, width, height], text] = mark;
    lay(outline, mark[0]);
    tip.textContent = text;
    const [x, y] = at ?? [left + width / 2, top + height];
    Object.assign(tip.style, { left: `${100 * Math.min(x, 0.75)}%`, top: `calc(${100 * y}% + 14px)` });
  };
  const choose = (index, event) => {
    const filter = model.get('marks')[index]?.[2];
    const add = event.shiftKey || event.ctrlKey || event.metaKey;
    if (filter && Object.keys(filter).length) model.send({ filter, add });
  };
  const edges = ([x]) => {
    const [[left, , width]] = from.axis;
    return [from.x, x].map(one => Math.min(Math.max(one, left), left + width)).sort((one, other) => one - other);
  };
  const moved = event => Math.abs(event.clientX - from.clientX) > DRAG_PX;

  figure.addEventListener('pointerdown', event => {
    const at = place(event);
    const axis = event.button === 0 && axisAt(at);
    if (!axis) return;
    from = { axis, x: at[0], clientX: event.clientX };
    figure.setPointerCapture(event.pointerId);
  });
  figure.addEventListener('pointermove', event => {
    const at = place(event);
    if (!from) return point(markAt(at), at);
    if (!moved(event)) return;
    const [start, end] = edges(at);
    lay(band, [start, from.axis[0][1], end - start, from.axis[0][3]]);
    tip.hidden = true;
  });
  figure.addEventListener('pointerup', event => {
    const at = place(event);
    if (from && moved(event)) {
      const [[left, , width], start, end] = from.axis;
      model.send({ range: edges(at).map(x => start + ((x - left) / width) * (end - start)) });
    } else if (event.button === 0) choose(markAt(at), event);
    from = null;
  });
  figure.addEventListener('pointerleave', () => from || hide());
  figure.addEventListener('keydown', event => {
    const count = model.get('marks').length;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === 'Escape') from ? ((from = null), hide()) : model.send({ back: true });
    else if (event.key === 'Enter') choose(current, event);
    else if (step && count) {
      current = current < 0 && step < 0 ? count - 1 : (current + step + count) % count;
      point(current);
      spoken.textContent = tip.textContent;
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  let timer;
  const measure = () => {
    const width = Math.floor(el.clientWidth);
    if (!width) return;
    const theme = getComputedStyle(el).colorScheme === 'dark' ? 'dark' : 'light';
    model.set({ width, pixel_ratio: devicePixelRatio, theme });
    model.save_changes();
  };
  const observer = new ResizeObserver(() => {
    clearTimeout(timer);
    timer = setTimeout(measure, SETTLED_MS);
  });
  observer.observe(el);
  model.on('change:url', show);
  show();
  return () => {
    clearTimeout(timer);
    observer.disconnect();
    model.off('change:url', show);
  };
}

export default { render };
