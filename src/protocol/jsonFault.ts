/** What is said of text that is no JSON. Pure. */

/** A parser's name for a fault in words: `CommaExpected` is `comma expected`. */
export const faultInWords = (code: string): string => code.replace(/([A-Z])/g, ' $1').trim().toLowerCase();
