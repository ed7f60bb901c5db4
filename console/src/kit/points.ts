/** The values of a line. Pure. */

export type Value = number | null | undefined;

export const isKnown = (value: Value) => value !== null && value !== undefined;

/** Where a value has none beside it: a line of one point cannot be seen. */
export function alone(values: ArrayLike<Value>): number[] {
  return Array.from(values, (_, index) => index).filter((index) => isKnown(values[index]) && !isKnown(values[index - 1]) && !isKnown(values[index + 1]));
}
