// Sorts a table by the column whose heading is pressed. The page says everything without it.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 3) continue;
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const direction = heading.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
      for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      body.append(...[...body.rows].sort((a, b) => sign * order(a.cells[column], b.cells[column])));
    });
  });
}

function order(a, b) {
  if ("value" in a.dataset && "value" in b.dataset) return a.dataset.value - b.dataset.value;
  if ("value" in a.dataset || "value" in b.dataset) return "value" in a.dataset ? 1 : -1;
  return a.textContent.localeCompare(b.textContent, "en", { numeric: true });
}
