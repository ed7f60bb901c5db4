/** Selectors as people type them. */

/** Selectors with commas between, but for those inside of parentheses. */
export function selectorsOf(text: string): string[] {
  return text
    .split(/,(?![^(]*\))/)
    .map((selector) => selector.trim())
    .filter((selector) => selector !== "");
}
