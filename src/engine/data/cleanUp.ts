/** `clean_up_tokenization_spaces`: the spaces that transformers takes out of a text that tokens were turned into. */

type Json = Record<string, unknown>;

/** In this order, as each rule sees what the ones before it left. Every one begins with a space, and none has more than four characters. */
const RULES = [[' .', '.'], [' ?', '?'], [' !', '!'], [' ,', ','], [" ' ", "'"], [" n't", "n't"], [" 'm", "'m"], [" 's", "'s"], [" 've", "'ve"], [" 're", "'re"]] as const;

/** Whether a tokenizer's config asks for it. Of a BPE, whose tokens have their spaces in them, transformers passes that over. */
export function cleansUp({ model }: Json, config: Json): boolean {
  const { type, merges } = model as Json;
  const isBpe = type === 'BPE' || type == null && merges !== undefined;
  return config.clean_up_tokenization_spaces === true && (!isBpe || config.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output === true);
}

export const cleanUp = (text: string): string => RULES.reduce((cleaned, [from, to]) => cleaned.replaceAll(from, to), text);

/** The beginning of a text that is cleaned up the same whatever follows it: no rule reaches over three characters that are no spaces. */
export const settledPart = (text: string): string => /^.*[^ ]{3}/su.exec(text)?.[0] ?? '';
