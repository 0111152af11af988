//! Where the server listens: on its address, or on the sockets that systemd has opened for it.

use std::{io, net::SocketAddr};

use listenfd::ListenFd;
use tokio::net::TcpListener;

use super::ServeError;

/// The sockets of systemd (sd_listen_fds(3)); where it gave none, one of our own at this address.
///
/// # Errors
/// When the address cannot be listened on, or a socket of systemd is not one for TCP.
pub(super) async fn open(address: SocketAddr) -> Result<Vec<TcpListener>, ServeError> {
    let mut given = ListenFd::from_env();
    if given.len() > 0 {
        let sockets = (0..given.len()).map(|index| {
            let socket = given.take_tcp_listener(index)?;
            let socket = socket.ok_or_else(|| io::Error::other("it is gone"))?;
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        });
        let sockets: io::Result<Vec<_>> = sockets.collect();
        return sockets.map_err(ServeError::Socket);
    }
    let own = TcpListener::bind(address).await;
    let own = own.map_err(|error| ServeError::Listen { address, error })?;
    Ok(vec![own])
}

/// Checks that only this machine reaches these sockets.
///
/// # Errors
/// With the first that others reach.
pub(super) fn are_of_this_machine(sockets: &[TcpListener]) -> Result<(), ServeError> {
    for socket in sockets {
        let address = socket.local_addr()?;
        if !address.ip().to_canonical().is_loopback() {
            return Err(ServeError::Open { address });
        }
    }
    Ok(())
}
