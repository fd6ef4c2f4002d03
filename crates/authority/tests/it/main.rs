//! The authorities against other programs: OpenSSL and the verifier of this repository.

mod instance;
mod openssl;
mod tsa;
