use std::time::Instant;

use etcd_client::{Client, ConnectOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::etcd::{shared_cluster, unique_prefix};

const LIMIT: Duration = Duration::from_secs(20);

/// A server that sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

async fn ask(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"hello").await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"hello");
    Ok(())
}

/// The other side has closed it: the end of the stream, or a reset.
async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(
        timeout(LIMIT, stream.read(&mut [0; 1]))
            .await
            .expect("closed by now"),
        Ok(0) | Err(_)
    )
}

#[tokio::test]
async fn it_passes_refuses_and_passes_again() {
    let proxy = Proxy::start(echo().await).await;
    let mut first = TcpStream::connect(proxy.address()).await.unwrap();
    ask(&mut first).await.unwrap();
    proxy.set(Mode::Refuse).await;
    assert!(is_closed(&mut first).await);
    let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    proxy.set(Mode::Pass).await;
    let mut second = TcpStream::connect(proxy.address()).await.unwrap();
    ask(&mut second).await.unwrap();
    assert_eq!(proxy.connections(), 2);
    proxy.cut();
    assert!(is_closed(&mut second).await);
    ask(&mut TcpStream::connect(proxy.address()).await.unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_black_hole_takes_everything_and_gives_nothing() {
    let proxy = Proxy::start(echo().await).await;
    let mut old = TcpStream::connect(proxy.address()).await.unwrap();
    ask(&mut old).await.unwrap();
    proxy.set(Mode::BlackHole).await;
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    for stream in [&mut old, &mut new] {
        assert!(
            timeout(Duration::from_millis(100), ask(stream))
                .await
                .is_err(),
            "an answer from the black hole"
        );
    }
    proxy.set(Mode::Pass).await;
    assert!(is_closed(&mut old).await && is_closed(&mut new).await);
}

#[tokio::test]
async fn a_delay_is_waited_out_both_ways() {
    let proxy = Proxy::start(echo().await).await;
    let delay = Duration::from_millis(30);
    proxy.set(Mode::Delay(delay)).await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let start = Instant::now();
    ask(&mut stream).await.unwrap();
    assert!(start.elapsed() >= 2 * delay, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_reply_is_lost_after_the_put_took_effect() {
    let cluster = shared_cluster();
    let proxy = Proxy::start(cluster.address(0)).await;
    let options = ConnectOptions::new().with_timeout(LIMIT);
    let mut client = Client::connect([proxy.url()], Some(options)).await.unwrap();
    let mut direct = cluster.client_of(0).await;
    let key = unique_prefix("lost");
    client.put(key.as_str(), "first", None).await.unwrap();
    for round in 1..=20 {
        let value = format!("{round:0>500}");
        proxy.lose_reply_to(Aim::Text("000"));
        // It is not meant.
        client.get(key.as_str(), None).await.unwrap();
        assert_eq!(proxy.lost(), round - 1);
        client
            .put(key.as_str(), value.as_str(), None)
            .await
            .expect_err("its reply was lost");
        proxy.wait_lost(round).await;
        let read = direct.get(key.as_str(), None).await.unwrap();
        assert_eq!(
            read.kvs()[0].value_str().unwrap(),
            value,
            "the put did not take effect"
        );
        // Once only.
        client
            .put(key.as_str(), value.as_str(), None)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_request_that_is_held_takes_effect_when_it_may_go_on() {
    let cluster = shared_cluster();
    let proxy = Proxy::start(cluster.address(0)).await;
    let options = ConnectOptions::new().with_timeout(LIMIT);
    let client = Client::connect([proxy.url()], Some(options)).await.unwrap();
    let mut direct = cluster.client_of(0).await;
    let key = unique_prefix("held");
    for cancelled in [false, true] {
        proxy.hold(Aim::Text("meant"));
        let mut writer = client.clone();
        writer.put(key.as_str(), "other", None).await.unwrap();
        let put = {
            let key = key.clone();
            tokio::spawn(async move { writer.put(key, "meant", None).await })
        };
        proxy.wait_held().await;
        let read = direct.get(key.as_str(), None).await.unwrap();
        assert_eq!(read.kvs()[0].value_str().unwrap(), "other");
        if cancelled {
            put.abort();
        }
        proxy.go_on().await;
        if !cancelled {
            put.await.unwrap().unwrap();
            let read = direct.get(key.as_str(), None).await.unwrap();
            assert_eq!(read.kvs()[0].value_str().unwrap(), "meant");
        }
    }
}
