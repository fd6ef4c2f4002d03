//! The authorities against other programs: OpenSSL and the verifiers of this repository.

mod ca;
mod instance;
mod keyless;
mod openssl;
mod tokens;
mod tsa;
mod verify_token;
