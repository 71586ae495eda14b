/** Logits of a language model on the examples of an experiment. */
import { readExperimentFile } from '../../src/engine/experimentFile';
import { fillTrainables, readAdapter } from '../../src/engine/model/adapter';
import { prepare } from '../../src/engine/prepare';
import { SILENT } from '../../src/engine/reporter';
import { createTrainingStep } from '../../src/engine/training/step';

/** For each of the first `count` training examples the logits [vocab_size] that predict its last token, by the base alone or with an adapter. */
export async function languageLogits(experiment_file: string, adapter: string | null, count: number): Promise<Float32Array[]> {
  const source = readExperimentFile(experiment_file);
  const { model, plan, train } = prepare(source, null, SILENT);
  const { lora, training } = source.experiment;
  const trainables = adapter === null ? new Float32Array(0) : fillTrainables(plan, readAdapter(adapter), model);
  const step = await createTrainingStep({ model, plan: adapter === null ? null : plan, lora, training, device: 'cpu', trainables, train: false });
  try {
    const rows: Float32Array[] = [];
    for (let i = 0; i < count; i++) {
      const example = train.get(i);
      // Only the last but one token is read, whether it is learned or not; of a decoder that lacks its target's last one, the last.
      const ids = example.decoder_input_ids ?? example.input_ids;
      const read = ids.length - (example.decoder_input_ids ? 1 : 2);
      const targets = ids.map((_, place) => (place === read ? 0 : -100));
      rows.push((await step.evaluate([{ ...example, targets }])).logits);
    }
    return rows;
  } finally { await step.dispose(); }
}
