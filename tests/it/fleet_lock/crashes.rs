//! What servers, proxies and networks answer.
