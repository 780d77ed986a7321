/** What a client asked for and does not get: an error of the protocol. */
export class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}
