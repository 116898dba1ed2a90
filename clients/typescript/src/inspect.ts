// What a credential looks like from its text alone, as the gateway would say it.

const BODY = 43;
const CHECK = 6;
const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** What a credential looks like. */
export interface Shape {
  /** `foreign`: none of Keymoat's, perhaps a key that was imported. */
  kind: 'key' | 'token' | 'admin' | 'foreign';
  /** How a token is written: `kmt_…`, `auth_tokens/kmt_…` for Google's SDKs, `ek_kmt_…` for OpenAI's. */
  spelling?: 'plain' | 'auth_tokens' | 'ek';
  /** Why it cannot be one, although it almost is: most often it was not copied whole. */
  fault?: 'alphabet' | 'length' | 'checksum' | 'key_as_token';
}

/**
 * Says what `credential` looks like, before anything is sent: for a form into which a person pastes one.
 *
 * The checksum finds typing errors and proves nothing.
 */
export function inspectCredential(credential: string): Shape {
  const [, dialect = '', rest = ''] = /^(auth_tokens\/|ek_)?(.*)$/s.exec(credential) ?? [];
  const spelling = dialect === '' ? 'plain' : dialect === 'ek_' ? 'ek' : 'auth_tokens';
  if (rest.startsWith('kma_')) return { kind: 'admin' };
  const prefix = ['kmt_', 'km_'].find((prefix) => rest.startsWith(prefix));
  if (prefix === undefined) return { kind: 'foreign' };
  const fault = faultOf(rest, rest.slice(prefix.length));
  if (prefix === 'kmt_') return { kind: 'token', spelling, ...fault };
  if (fault === undefined && spelling !== 'plain') return { kind: 'key', fault: 'key_as_token' };
  return { kind: 'key', ...fault };
}

function faultOf(whole: string, tail: string): { fault: NonNullable<Shape['fault']> } | undefined {
  if (!/^[0-9A-Za-z]*$/.test(tail)) return { fault: 'alphabet' };
  if (tail.length !== BODY + CHECK) return { fault: 'length' };
  return checksum(whole.slice(0, -CHECK)) === whole.slice(-CHECK) ? undefined : { fault: 'checksum' };
}

/** CRC-32 (ISO-HDLC) as six base62 digits. */
function checksum(text: string): string {
  let crc = ~0;
  for (let at = 0; at < text.length; at++) {
    crc ^= text.charCodeAt(at);
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  let number = ~crc >>> 0;
  let digits = '';
  for (let at = 0; at < CHECK; at++) {
    digits = DIGITS.charAt(number % 62) + digits;
    number = Math.floor(number / 62);
  }
  return digits;
}
