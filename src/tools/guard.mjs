/**
 * node guard.mjs COMMAND [ARGUMENT…]: runs a program and ends its process group when standard input closes.
 * The parent holds the other end of the pipe, so that its death, even by SIGKILL, takes the program along.
 */
import { spawn } from 'node:child_process';

const [command, ...args] = process.argv.slice(2);
const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'] });

// This process leads the group that the child belongs to.
const endGroup = () => {
  process.on('SIGTERM', () => {});
  process.kill(-process.pid, 'SIGTERM');
  setTimeout(() => process.kill(-process.pid, 'SIGKILL'), 2000);
};
process.stdin.on('end', endGroup).on('error', endGroup).resume();
child.on('error', (error) => {
  console.error(`${command}: ${error.message}`);
  process.exit(127);
});
child.on('exit', (code) => process.exit(code ?? 1));
