//! The system calls that a decoder never needs, refused by the kernel: the network, other processes, and doors past
//! this filter. Everything else passes: a decoder is a large program whose library calls change with each version.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// The network.
const NETWORK: &[i64] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
];

/// Other processes, and doors past this filter: `io_uring` opens sockets without `socket`.
const OTHERS: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
];

/// `x86_64` kernels may also take a system call by its x32 number: the same with this bit.
const X32: i64 = 0x4000_0000;

/// The compiled filter; `None` on a machine it cannot be made for.
pub fn filter() -> Option<BpfProgram> {
    let mut rules = std::collections::BTreeMap::new();
    for call in NETWORK.iter().chain(OTHERS) {
        rules.insert(*call, Vec::new());
        if cfg!(target_arch = "x86_64") {
            rules.insert(*call | X32, Vec::new());
        }
    }
    let refused = SeccompAction::Errno(u32::try_from(libc::EPERM).ok()?);
    let arch = std::env::consts::ARCH.try_into().ok()?;
    SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).ok()?.try_into().ok()
}
