//! What `ethtool -K` and `ethtool -i` do, for the one feature that natgw must change.

use std::{ffi::CStr, io, os::fd::AsRawFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

// linux/ethtool.h
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

/// Whether the device takes 802.1Q tags out of the frames that it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TagStripping {
    /// The tag is beside the frame, where XDP does not look.
    On,
    /// The tag is in the frame.
    Off,
}

/// `struct ethtool_value`
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ethtool_drvinfo`
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// The device's setting, in the network namespace of the calling thread.
pub(super) fn tag_stripping(interface: &str) -> io::Result<TagStripping> {
    Ok(if flags(interface)? & ETH_FLAG_RXVLAN == 0 { TagStripping::Off } else { TagStripping::On })
}

/// Changes it. An error when the driver does not allow that, or did as if and went on.
pub(super) fn set_tag_stripping(interface: &str, wanted: TagStripping) -> io::Result<()> {
    let others = flags(interface)? & !ETH_FLAG_RXVLAN;
    let data = match wanted {
        TagStripping::On => others | ETH_FLAG_RXVLAN,
        TagStripping::Off => others,
    };
    request(interface, &mut Value { command: ETHTOOL_SFLAGS, data })?;
    if tag_stripping(interface)? == wanted { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
}

/// The name of the device's driver.
pub(super) fn driver(interface: &str) -> io::Result<String> {
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    request(interface, &mut info)?;
    let name = CStr::from_bytes_until_nul(&info.driver).map_err(io::Error::other)?;
    Ok(name.to_string_lossy().into_owned())
}

fn flags(interface: &str) -> io::Result<u32> {
    let mut value = Value { command: ETHTOOL_GFLAGS, data: 0 };
    request(interface, &mut value)?;
    Ok(value.data)
}

/// `T` is the structure of the command in its first word.
fn request<T>(interface: &str, data: &mut T) -> io::Result<()> {
    let mut name = [0; libc::IFNAMSIZ];
    if interface.len() >= name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    let mut ifreq = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut *data).cast() },
    };
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the kernel reads and writes an ifreq and, through it, the structure of the command, whose size
    // belongs to the command; both are valid and live across the call, which keeps neither.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut ifreq) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
