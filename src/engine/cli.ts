/**
 * The engine on the command line: `main` of commands.ts, a bundle of its own. What is there is needed only when the worker
 * answers, so a run's worker boots on another core before it is loaded.
 */
import { startWorker } from './startWorker';

const args = process.argv.slice(2);
const started = ['train', 'sweep'].includes(args[0]) && !args.includes('--help') ? startWorker() : undefined;
// With import() Node would load its loader of ES modules first.
const { main } = require('./commands.js') as typeof import('./commands');
void main(args, started);
