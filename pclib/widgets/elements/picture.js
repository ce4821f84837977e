// A picture with a caption and a text alternative. Where it answers, a place in it can be pointed at, and moved from
// with the arrow keys; steps are counted up, so that none is lost when keys come faster than answers.
function render({ model, el }) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const frame = document.createElement("div");
  const image = document.createElement("img");
  let address = null;
  figure.className = "pclib-picture";
  image.draggable = false;
  frame.append(image);
  figure.append(caption, frame);
  el.append(figure);

  const show = () => {
    const data = model.get("data");
    if (!data.byteLength) return;
    const before = address;
    address = URL.createObjectURL(new Blob([data], { type: "image/jpeg" }));
    image.src = address;
    if (before) URL.revokeObjectURL(before);
  };
  const describe = () => {
    caption.textContent = model.get("title");
    image.alt = model.get("alt");
    image.style.width = `${model.get("width")}px`;
    if (model.get("answers")) {
      frame.tabIndex = 0;
      frame.setAttribute("role", "application");
      frame.setAttribute("aria-label", `${model.get("title")}: point, or use the arrow keys`);
    }
  };
  const point = (event) => {
    const box = image.getBoundingClientRect();
    const share = (value, low, size) => Math.min(Math.max((value - low) / size, 0), 0.999999);
    model.set("pointed", [share(event.clientX, box.left, box.width), share(event.clientY, box.top, box.height)]);
    model.save_changes();
  };
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const listen = {
    pointerdown: (event) => {
      if (event.button !== 0) return;
      frame.focus({ preventScroll: true });
      frame.setPointerCapture(event.pointerId);
      point(event);
    },
    pointermove: (event) => {
      if (event.buttons & 1) point(event);
    },
    keydown: (event) => {
      const step = arrows[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const [across, down] = model.get("stepped");
      model.set("stepped", [across + step[0], down + step[1]]);
      model.save_changes();
    },
  };
  for (const [name, handler] of Object.entries(listen))
    frame.addEventListener(name, (event) => model.get("answers") && handler(event));

  model.on("change:data", show);
  model.on("change:title change:alt change:width change:answers", describe);
  describe();
  show();
  return () => {
    model.off("change:data", show);
    model.off("change:title change:alt change:width change:answers", describe);
    if (address) URL.revokeObjectURL(address);
  };
}
export default { render };
