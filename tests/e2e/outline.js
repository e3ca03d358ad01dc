// What the test asks of every page, measured where only a browser can: after layout, with the colours as they are drawn.
() => {
  const shown = (element) => element.checkVisibility() && !element.closest(".skip");
  const all = (selector) => [...document.querySelectorAll(selector)];
  const label = (element) => element.outerHTML.slice(0, 80);

  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = ([red, green, blue]) => {
    const linear = [red, green, blue].map((channel) => {
      const part = channel / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  // WCAG 2.2, 1.4.3.
  const contrast = (element) => {
    const [one, other] = [channels(getComputedStyle(element).color), ground(element)].map(luminance);
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  };
  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());

  const identifiers = all("[id]").map((element) => element.id);
  return {
    language: document.documentElement.lang,
    headings: all("h1").length,
    mains: all("main").length,
    // No heading may leave out a level.
    skipped: all("h1, h2, h3, h4, h5, h6")
      .filter(shown)
      .filter((heading, at, list) => at > 0 && heading.tagName[1] - list[at - 1].tagName[1] > 1)
      .map(label),
    unlabelled: all("input:not([type=hidden]), select, textarea")
      .filter((field) => !field.labels.length && !field.ariaLabel)
      .map(label),
    nameless: all("a, button").filter((element) => !element.textContent.trim() && !element.ariaLabel).map(label),
    repeated: identifiers.filter((one, at) => identifiers.indexOf(one) !== at),
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    // Also what a box of its own cuts off.
    sticking: all("body *")
      .filter((element) => shown(element) && element.getBoundingClientRect().right > window.innerWidth + 0.5)
      .map(label),
    faint: all("body *")
      .filter((element) => hasText(element) && shown(element) && contrast(element) < 4.5)
      .map((element) => `${contrast(element).toFixed(2)} ${label(element)}`),
  };
}
