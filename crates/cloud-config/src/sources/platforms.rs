//! The platforms with a service that tells a node about itself: one arm each.

use host::http::{Http, Url};

use super::{
    Found, Platform, Unavailable, digitalocean, ec2, gce, openstack, packet, service::Service,
};

/// Asks the service of a platform.
pub(super) async fn fetch(
    platform: Platform,
    base: &Url,
    http: &Http,
) -> Result<Found, Unavailable> {
    let service = Service { http, base };
    match platform {
        Platform::Ec2 => ec2::fetch(&service).await,
        Platform::OpenStack => openstack::fetch(&service).await,
        Platform::Gce => gce::fetch(&service).await,
        Platform::DigitalOcean => digitalocean::fetch(&service).await,
        Platform::Packet => packet::fetch(&service).await,
    }
}
