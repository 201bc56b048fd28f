// Shows HTML: what has data-action can be pressed, by mouse and by keyboard, and sends it. The arrow keys move within a
// data-group, which is one stop of the Tab key. Headings of tables sort them, data-copy copies a text, and a time with
// data-since says how long ago it is.
const CURRENT = '[aria-checked="true"], [aria-selected="true"]';
const MINUTE_MS = 60_000;

const age = ms => {
  const minutes = Math.floor((Date.now() - ms) / MINUTE_MS);
  if (minutes < 1) return 'now';
  if (minutes < 60) return `${minutes} min ago`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h ago` : `${Math.floor(minutes / 1440)} days ago`;
};

const sort = head => {
  const place = [...head.parentElement.children].indexOf(head);
  const sign = head.getAttribute('aria-sort') === 'ascending' ? -1 : 1;
  const body = head.closest('table').tBodies[0];
  const text = row => row.cells[place].innerText;
  const order = new Intl.Collator('en', { numeric: true }).compare;
  const rows = [...body.rows].sort((one, other) => sign * order(text(one), text(other)));
  head.parentElement.querySelectorAll('[aria-sort]').forEach(other => other.removeAttribute('aria-sort'));
  head.setAttribute('aria-sort', sign > 0 ? 'ascending' : 'descending');
  body.replaceChildren(...rows);
};

// names of functions filter by them, ids of calls open them
const press = (cell, text, action) => {
  const button = document.createElement('button');
  button.className = 'link';
  button.textContent = text;
  button.dataset.action = JSON.stringify(action);
  cell.firstChild.replaceWith(button);
};

const link = el => {
  for (const cell of el.querySelectorAll('td.ids')) {
    const head = cell.closest('table').tHead.rows[0].cells[cell.cellIndex].textContent;
    if (head.includes('call') && /^\d+$/.test(cell.textContent)) press(cell, cell.textContent, { open: cell.textContent });
  }
  el.querySelectorAll('.sort-all thead th').forEach(head => press(head, head.textContent, { sort: head.cellIndex }));
  for (const field of ['functions', 'statuses']) {
    for (const cell of el.querySelectorAll(`.pick-${field} tbody th`)) {
      press(cell, cell.firstChild.textContent, { toggle: { [field]: [cell.title || cell.firstChild.textContent] } });
    }
  }
};

const copy = async target => {
  const text = target.parentElement.querySelector('textarea');
  text.select();
  await Promise.resolve(navigator.clipboard?.writeText(text.value)).catch(() => document.execCommand('copy'));
  target.textContent = 'Copied';
};

function render({ model, el }) {
  let opener = null;
  const tick = () => el.querySelectorAll('[data-since]').forEach(time => (time.textContent = age(+time.dataset.since)));
  const show = () => {
    const focused = el.contains(document.activeElement) ? document.activeElement.dataset.action : undefined;
    if (!el.contains(document.activeElement)) opener = document.activeElement;
    else if (!model.get('html')) opener?.focus();
    el.innerHTML = model.get('html');
    link(el);
    const drawer = el.querySelector('.drawer'); // where the page is scrolled to
    const top = drawer && Math.min(100 - el.getBoundingClientRect().top, el.offsetHeight - drawer.offsetHeight);
    if (drawer) drawer.style.top = `${Math.max(0, top)}px`;
    el.querySelectorAll('.sortable thead th').forEach(head => (head.tabIndex = 0));
    for (const group of el.querySelectorAll('[data-group]')) {
      const stops = [...group.querySelectorAll('[data-action]')];
      const current = group.querySelector(CURRENT) ?? stops[0];
      stops.forEach(stop => (stop.tabIndex = stop === current ? 0 : -1));
    }
    const again = [...el.querySelectorAll('[data-action]')].find(one => one.dataset.action === focused);
    (again ?? (focused && el.querySelector('[data-action]')) ?? el.querySelector('[data-focus]'))?.focus?.();
    tick();
  };
  const click = event => {
    const target = event.target.closest('[data-action], [data-copy], .sortable thead th');
    if (!target) return;
    if (target.dataset.action) {
      model.send({ action: JSON.parse(target.dataset.action), add: event.shiftKey || event.ctrlKey || event.metaKey });
    } else if ('copy' in target.dataset) copy(target);
    else sort(target);
  };
  const key = event => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const group = event.target.closest('[data-group]');
    if (event.key === 'Escape') model.send({ action: { do: 'back' } });
    else if (event.key === 'Enter' && event.target.matches('.sortable th')) sort(event.target);
    else if (step && group) {
      const stops = [...group.querySelectorAll('[data-action]')].filter(stop => stop.checkVisibility());
      const next = stops.at((stops.indexOf(event.target) + step) % stops.length);
      stops.forEach(stop => (stop.tabIndex = stop === next ? 0 : -1));
      next.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  if (model.get('role')) el.setAttribute('role', model.get('role'));
  el.addEventListener('click', click);
  el.addEventListener('keydown', key);
  // JupyterLab would take keys for commands: "m" would turn the cell into text
  const keep = event => event.target.closest('.callframe-explore') && (event.target.dataset.lmSuppressShortcuts = 'true');
  document.addEventListener('focusin', keep);
  model.on('change:html', show);
  const timer = setInterval(tick, MINUTE_MS / 2);
  show();
  return () => {
    clearInterval(timer);
    document.removeEventListener('focusin', keep);
    model.off('change:html', show);
  };
}

export default { render };
