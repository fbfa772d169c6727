// A text with what the other one does not have marked: words outside the longest common subsequence.
// Comparing takes a table of both lengths, so that beyond this many words nothing is marked.
const mostCompared = 600;
function marked(text, other) {
  const split = said => said.match(/\s+|[^\s]+/gu) || [], a = split(text), b = split(other);
  if (a.length > mostCompared || b.length > mostCompared) return [text];
  const width = b.length + 1, longest = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) for (let j = b.length - 1; j >= 0; j--) {
    longest[i * width + j] = a[i] === b[j] ? longest[(i + 1) * width + j + 1] + 1
      : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
  }
  const parts = [];
  for (let i = 0, j = 0; i < a.length; i++) {
    while (j < b.length && a[i] !== b[j] && longest[i * width + j + 1] >= longest[(i + 1) * width + j]) j++;
    const isCommon = j < b.length && a[i] === b[j], last = parts.at(-1);
    if (isCommon) j++;
    if (last && last.isCommon === isCommon) last.text += a[i];
    else parts.push({ text: a[i], isCommon });
  }
  return parts.map(part => part.isCommon || !part.text.trim() ? part.text : html("mark", {}, part.text));
}
