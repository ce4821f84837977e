// What the pictures show, in words that change with them; and what went wrong, if something did.
const GONE = "The kernel that answered here is gone. Run the cell again.";

function render({ model, el }) {
  const words = document.createElement("div");
  const trouble = document.createElement("div");
  words.className = "pclib-words";
  trouble.className = "pclib-trouble";
  words.setAttribute("role", "status");
  trouble.setAttribute("role", "alert");
  el.append(words, trouble);

  const say = () => {
    words.textContent = model.get("text");
    trouble.textContent = model.get("trouble");
  };
  const lost = () => {
    trouble.textContent = GONE;
  };
  model.on("change:text change:trouble", say);
  model.on("comm:close comm_live_update", lost);
  say();
  // JupyterLab takes the arrow keys of whatever has the focus, to go to another cell, unless it says that it needs them
  const keep = (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true");
  requestAnimationFrame(() => el.closest(".pclib-explorer")?.addEventListener("focusin", keep));
  return () => {
    model.off("change:text change:trouble", say);
    model.off("comm:close comm_live_update", lost);
  };
}
export default { render };
