selector => {
  // Lists each text under `selector` whose contrast with its background is below 4.5, as "3.1 the text".
  const colours = new Map();
  const read = colour => {
    if (!colours.has(colour)) colours.set(colour, painted(colour));
    return colours.get(colour);
  };
  const painted = colour => {
    const context = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = context.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = ([red, green, blue, alpha], below) =>
    [red, green, blue].map((value, place) => alpha * value + (1 - alpha) * below[place]);
  const brightness = colour => {
    const [red, green, blue] = colour.map(value => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const grounds = new Map();
  const ground = element => {
    // the background over the one below, and how much of letters the opacities leave
    if (!element) return [[255, 255, 255], 1];
    if (!grounds.has(element)) {
      const [below, left] = ground(element.parentElement);
      const style = getComputedStyle(element);
      grounds.set(element, [over(read(style.backgroundColor), below), left * Number(style.opacity)]);
    }
    return grounds.get(element);
  };
  const shades = element => {
    const [behind, left] = ground(element);
    const [red, green, blue, alpha] = read(getComputedStyle(element).color);
    return [over([red, green, blue, alpha * left], behind), behind];
  };
  const contrast = element => {
    const [one, other] = shades(element).map(brightness);
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  };
  const failing = [];
  for (const root of document.querySelectorAll(selector)) {
    const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const element = texts.currentNode.parentElement;
      const text = texts.currentNode.data.trim();
      if (text && element.checkVisibility({ visibilityProperty: true }) && !element.closest(':disabled, script, style, option')) {
        const ratio = contrast(element);
        if (ratio < 4.5) failing.push(`${ratio.toFixed(1)} ${text.slice(0, 60)}`);
      }
    }
  }
  return failing;
}
