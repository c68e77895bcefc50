// Charts, drawn by hand as SVG: five minutes, a line for each color.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300, HEIGHT = 90, WINDOW = 5 * 60 * 1000;
const COLORS = ["blue", "green"];

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// A round number that is not below any value.
function ceiling(value, least) {
  if (value <= least) return least;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 5, 7.5, 10].map(step => step * power).find(round => round >= value);
}

function path(samples, pick, from, top) {
  let d = "", pen = "M";
  for (const sample of samples) {
    const value = pick(sample);
    // A gap, not a line through zero, where there is nothing to say.
    if (value === null || value === undefined) { pen = "M"; continue; }
    const x = (sample.at_ms - from) / WINDOW * WIDTH;
    const y = HEIGHT - 2 - Math.min(value / top, 1) * (HEIGHT - 6);
    d += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  }
  return d;
}

// `fields`: names of a color's figure; the first is the main one, the second is dashed.
export function chart(fields, format, least) {
  const root = document.createElement("figure");
  root.className = "chart";
  root.style.margin = "0";
  const title = document.createElement("h3");
  const now = document.createElement("div");
  now.className = "now";
  const svg = shape("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img"});
  const foot = document.createElement("div");
  foot.className = "foot";
  root.append(title, now, svg, foot);

  function update(samples, words) {
    const last = samples.at(-1);
    const end = last ? last.at_ms : Date.now();
    const shown = samples.filter(sample => sample.at_ms >= end - WINDOW);
    const values = shown.flatMap(sample => COLORS.flatMap(color => fields.map(field => sample[color][field] ?? 0)));
    const top = ceiling(Math.max(0, ...values), least);
    svg.replaceChildren();
    for (const part of [0, 0.5, 1]) {
      const y = HEIGHT - 2 - part * (HEIGHT - 6);
      svg.append(shape("line", {class: "grid", x1: 0, x2: WIDTH, y1: y, y2: y}));
    }
    for (const color of COLORS) {
      fields.forEach((field, index) => {
        const d = path(shown, sample => sample[color][field], end - WINDOW, top);
        if (d) svg.append(shape("path", {class: `line ${color}${index ? " dashed" : ""}`, d}));
      });
    }
    title.textContent = words.title;
    now.replaceChildren(...COLORS.map(color => {
      const text = document.createElement("span");
      text.className = color;
      const values = fields.map(field => last?.[color][field]);
      text.textContent = values.every(value => value === null || value === undefined)
        ? "–" : values.map(value => value === null || value === undefined ? "–" : format(value)).join(" / ");
      return text;
    }));
    svg.setAttribute("aria-label", `${words.title}: ${now.textContent}`);
    const [left, right] = [document.createElement("span"), document.createElement("span")];
    left.textContent = words.past;
    right.textContent = `${words.top} ${format(top)}`;
    foot.replaceChildren(left, right);
  }
  return {root, update};
}
