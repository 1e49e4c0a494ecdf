//! Bytes to the TPM and back: the device of the kernel, or the socket of the software TPM `swtpm`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use keyreeve_secret::SecretBytes;

use crate::bench::Trouble;

/// The longest command or response (bytes): that of the reference implementation. No TPM takes less than 1 KiB, and
/// nothing here comes near that.
const LONGEST: usize = 4096;

/// Where the TPM is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A device file, `/dev/tpmrm0`: the kernel's resource manager keeps users of the TPM apart.
    File(PathBuf),
    /// The data channel of `swtpm socket`, on TCP: `HOST:PORT`. For tests: what it holds is as safe as its files.
    Tcp(String),
    /// The same on a UNIX socket.
    Unix(PathBuf),
}

impl FromStr for Device {
    type Err = &'static str;

    /// `/dev/tpmrm0`, `swtpm:HOST:PORT` or `swtpm:/PATH`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("swtpm:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(address) if address.rsplit_once(':').is_some_and(|(host, port)| is_place(host, port)) => {
                Ok(Self::Tcp(address.to_owned()))
            }
            None if text.starts_with('/') => Ok(Self::File(text.into())),
            _ => Err("a TPM is an absolute path as `/dev/tpmrm0`, `swtpm:HOST:PORT` or `swtpm:/PATH`"),
        }
    }
}

fn is_place(host: &str, port: &str) -> bool {
    !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "swtpm:{address}"),
            Self::Unix(path) => write!(f, "swtpm:{}", path.display()),
        }
    }
}

impl Device {
    /// Whether a resource manager keeps what others have in the TPM apart from ours. Without one, what a killed process
    /// left there stays until somebody flushes it.
    pub(crate) fn is_managed(&self) -> bool {
        match self {
            Self::File(path) => path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tpmrm")),
            Self::Tcp(_) | Self::Unix(_) => false,
        }
    }

    /// Whether this is a program that plays a TPM.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        !matches!(self, Self::File(_))
    }

    pub(crate) fn connect(&self, limit: Duration) -> Result<Connection, Trouble> {
        let io = |error: std::io::Error| Trouble::Silent(format!("{self}: {error}"));
        Ok(match self {
            Self::File(path) => Connection::File(OpenOptions::new().read(true).write(true).open(path).map_err(io)?),
            Self::Tcp(address) => {
                let found = address.to_socket_addrs().map_err(io)?.next();
                let found = found.ok_or_else(|| Trouble::Silent(format!("{self}: this host has no address")))?;
                let stream = TcpStream::connect_timeout(&found, limit).map_err(io)?;
                stream.set_read_timeout(Some(limit)).map_err(io)?;
                stream.set_nodelay(true).map_err(io)?;
                Connection::Tcp(stream)
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(io)?;
                stream.set_read_timeout(Some(limit)).map_err(io)?;
                Connection::Unix(stream)
            }
        })
    }
}

/// A TPM to talk to. Dropping it is the end of what a resource manager kept for us.
pub(crate) enum Connection {
    File(File),
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    /// Sends one command and waits for its response.
    pub(crate) fn transmit(&mut self, command: &[u8]) -> Result<SecretBytes, Trouble> {
        let io = |error: std::io::Error| Trouble::Silent(format!("the TPM does not answer: {error}"));
        match self {
            // The kernel wants a command in one write, and gives its response in one read.
            Self::File(file) => {
                let written = file.write(command).map_err(io)?;
                if written != command.len() {
                    return Err(Trouble::Silent("the TPM's device took half of a command".to_owned()));
                }
                let mut response = SecretBytes::init_with(LONGEST, |_| ());
                let read = file.read(response.expose_mut()).map_err(io)?;
                response.truncate(read);
                Ok(response)
            }
            Self::Tcp(stream) => over_stream(stream, command).map_err(io),
            Self::Unix(stream) => over_stream(stream, command).map_err(io),
        }
    }
}

fn over_stream(stream: &mut (impl Read + Write), command: &[u8]) -> std::io::Result<SecretBytes> {
    stream.write_all(command)?;
    let mut header = [0; 10];
    stream.read_exact(&mut header)?;
    let [_, _, a, b, c, d, ..] = header;
    let size = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if !(header.len()..=LONGEST).contains(&size) {
        return Err(std::io::Error::other("a response of an impossible length"));
    }
    let mut response = SecretBytes::init_with(size, |bytes| bytes[..header.len()].copy_from_slice(&header));
    stream.read_exact(&mut response.expose_mut()[header.len()..])?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_in_one_way() {
        for text in ["/dev/tpmrm0", "/dev/tpm0", "swtpm:127.0.0.1:2321", "swtpm:/run/tpm/socket", "swtpm:::1:9"] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        for text in ["", "tpm0", "swtpm:", "swtpm:host", "swtpm::1", "swtpm:host:0", "swtpm:host:x", "tcp:a:1"] {
            assert!(text.parse::<Device>().is_err(), "{text}");
        }
        let managed = |text: &str| text.parse::<Device>().unwrap().is_managed();
        assert!(managed("/dev/tpmrm0") && !managed("/dev/tpm0") && !managed("swtpm:/run/tpmrm0"));
    }
}
