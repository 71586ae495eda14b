/** A certificate that a server signs for itself, in DER by hand: Node makes keys and signatures, but no certificates. */
import { generateKeyPairSync, sign } from 'node:crypto';

/** An element of DER: its tag, the length of its content and the content. */
function der(tag: number, ...content: (Buffer | number[])[]): Buffer {
  const body = Buffer.concat(content.map(part => Buffer.from(part)));
  const length = body.length < 128 ? [body.length] : body.length < 256 ? [0x81, body.length] : [0x82, body.length >> 8, body.length & 255];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
}

const sequence = (...content: Buffer[]): Buffer => der(0x30, ...content);
/** ecdsa-with-SHA256, commonName and subjectAltName. */
const [SIGNATURE, COMMON_NAME, OTHER_NAMES] = [[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], [0x55, 4, 3], [0x55, 0x1d, 0x11]].map(bytes => der(6, bytes));

/** Key and certificate of `host`, from 2020 to 2049. */
export function selfSigned(host: string): { key: string; cert: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const name = sequence(der(0x31, sequence(COMMON_NAME, der(0x0c, Buffer.from(host)))));
  const time = (text: string): Buffer => der(0x17, Buffer.from(text));
  const extensions = der(0xa3, sequence(sequence(OTHER_NAMES, der(4, sequence(der(0x82, Buffer.from(host)))))));
  const content = sequence(der(0xa0, der(2, [2])), der(2, [1]), sequence(SIGNATURE), name, sequence(time('200101000000Z'), time('491231000000Z')), name, publicKey.export({ type: 'spki', format: 'der' }), extensions);
  const certificate = sequence(content, sequence(SIGNATURE), der(3, [0], sign('sha256', content, privateKey)));
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    cert: `-----BEGIN CERTIFICATE-----\n${certificate.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`,
  };
}
