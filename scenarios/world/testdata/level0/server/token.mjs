// JSON Web Tokens of one secret, HS256 (RFC 7519, RFC 7515).
import { createHmac, timingSafeEqual } from 'node:crypto';

/** The user of a token; undefined if it proves nothing. */
export function userOf(authorization, secret) {
  const [head, body, signature] = (/^Bearer (\S+)$/.exec(authorization ?? '')?.[1] ?? '').split('.');
  if (!signature) return undefined;
  try {
    const want = createHmac('sha256', secret).update(`${head}.${body}`).digest();
    const got = Buffer.from(signature, 'base64url');
    const claims = JSON.parse(Buffer.from(body, 'base64url').toString());
    const { alg } = JSON.parse(Buffer.from(head, 'base64url').toString());
    const good = alg === 'HS256' && got.length === want.length && timingSafeEqual(got, want) && claims.exp > Date.now() / 1000;
    return good && typeof claims.sub === 'string' ? claims.sub : undefined;
  } catch {
    return undefined;
  }
}
