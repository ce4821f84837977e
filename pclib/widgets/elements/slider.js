// A slider over a list of stops, each with its value in words, which stands beside it and is read out.
function render({ model, el }) {
  const row = document.createElement("div");
  const label = document.createElement("label");
  const input = document.createElement("input");
  const value = document.createElement("output");
  row.className = "pclib-slider";
  input.type = "range";
  input.min = "0";
  // by chance: each widget has a module of its own, so that counting would give the same to all
  input.id = `pclib-slider-${Math.random().toString(36).slice(2)}`;
  label.htmlFor = value.htmlFor = input.id;
  value.setAttribute("aria-live", "off"); // the slider itself is read out with it
  row.append(label, input, value);
  el.append(row);

  const say = () => {
    const words = model.get("stops")[Number(input.value)] ?? "";
    value.textContent = words;
    input.setAttribute("aria-valuetext", words);
  };
  const follow = () => {
    label.textContent = model.get("label");
    input.max = String(model.get("stops").length - 1);
    input.value = String(model.get("index"));
    say();
  };
  input.addEventListener("input", () => {
    say();
    model.set("index", Number(input.value));
    model.save_changes();
  });
  model.on("change:label change:stops change:index", follow);
  follow();
  return () => model.off("change:label change:stops change:index", follow);
}
export default { render };
