/** A wrong argument or an unreadable input: its message goes to stderr, the exit code is 2. */
export class UsageFault extends Error {}
