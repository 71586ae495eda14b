/** Logits of a language model on the examples of an experiment. */
import { readExperimentFile } from '../../src/engine/experimentFile';
import { fillTrainables, readAdapter } from '../../src/engine/model/adapter';
import { prepare } from '../../src/engine/prepare';
import { SILENT } from '../../src/engine/reporter';
import { createTrainingStep } from '../../src/engine/training/step';

/** For each of the first `count` training examples the logits [vocab_size] that predict its last token. */
export async function languageLogits(experiment_file: string, adapter: string, count: number): Promise<Float32Array[]> {
  const source = readExperimentFile(experiment_file);
  const { model, plan, train } = prepare(source, null, SILENT);
  const { lora, training } = source.experiment;
  const step = await createTrainingStep({ model, plan, lora, training, device: 'cpu', trainables: fillTrainables(plan, readAdapter(adapter), model), train: false });
  try {
    const rows: Float32Array[] = [];
    for (let i = 0; i < count; i++) {
      const example = train.get(i);
      // Only the last but one token is read, whether it is learned or not.
      const targets = example.input_ids.map((id, place) => (place === example.input_ids.length - 2 ? 0 : -100));
      rows.push((await step.evaluate([{ ...example, targets }])).logits);
    }
    return rows;
  } finally { await step.dispose(); }
}
