/** The engine's worker thread: the bundle of requests.ts, with what V8 compiled of it in an earlier process. */
import { join } from 'node:path';
import { loadCached } from './codeCache';

const { exports: { answerRequests }, keep } = loadCached<typeof import('./requests')>(join(__dirname, 'requests.js'));
answerRequests(keep);
