// What both pages share: elements found by a selector, or made with their properties and children.

/** The page's element that a selector finds; raises an Error without one. */
export function find<E extends HTMLElement = HTMLElement>(selector: string): E {
  const found = document.querySelector<E>(selector);
  if (!found) throw new Error(`the page has no ${selector}`);
  return found;
}
export const field = (selector: string) => find<HTMLInputElement>(selector);
export const button = (selector: string) => find<HTMLButtonElement>(selector);

export function element<T extends keyof HTMLElementTagNameMap>(
  tag: T, properties: Partial<HTMLElementTagNameMap[T]> = {}, ...children: (Node | string)[]
): HTMLElementTagNameMap[T] {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
