use futures_util::FutureExt;

use super::*;

fn queue<T>(max_items: usize, max_bytes: usize) -> (Queue<T>, ReaderId) {
    let queue = Queue::new(0, 0);
    let reader = queue.replace_readers(max_items, max_bytes);
    (queue, reader)
}

#[test]
fn it_takes_no_more_than_its_count_and_its_bytes() {
    let (queue, reader) = queue(2, 100);
    assert!(queue.push("a", 60).is_ok());
    assert!(
        queue.push("b", 60).is_err(),
        "120 bytes do not fit into 100"
    );
    assert!(queue.push("b", 40).is_ok());
    assert!(queue.push("c", 0).is_err(), "three do not fit into two");
    assert_eq!(queue.clear(reader), ["a", "b"]);
    assert!(
        queue.push("large", 1000).is_ok(),
        "alone, a large one is taken"
    );
}

/// Takes what waits for these readers.
fn taken(queue: &Queue<u32>, reader: ReaderId) -> Vec<u32> {
    let next = || queue.pop(reader).now_or_never().flatten();
    std::iter::from_fn(next).collect()
}

#[test]
fn a_lane_gets_its_share_and_what_waits_there_goes_back_in_order() {
    let (queue, main) = queue(1000, 1000);
    let side = queue.open_lane(0.5);
    (0..100).for_each(|item| queue.push(item, 1).expect("there is room"));
    assert_eq!(queue.len_for(side), 50);
    assert_eq!((queue.len(), queue.bytes()), (100, 100));
    queue.merge_lane(side);
    assert_eq!(queue.len_for(side), 0);
    assert!(taken(&queue, side).is_empty());
    assert_eq!(taken(&queue, main), (0..100).collect::<Vec<_>>());
    assert_eq!((queue.len(), queue.bytes()), (0, 0));
}

#[test]
fn what_does_not_fit_into_a_lane_is_for_the_others() {
    let (queue, main) = queue(100, 1000);
    let side = queue.open_lane(0.1);
    (0..100).for_each(|item| queue.push(item, 1).expect("there is room"));
    assert!(
        queue.push(100, 1).is_err(),
        "both lanes together are within the bound"
    );
    // Those of the lane take nothing: it is full, and all else goes on.
    for item in 0..1000 {
        assert!(!taken(&queue, main).is_empty());
        queue.push(item, 1).expect("there is room");
    }
    assert_eq!(queue.len_for(side), 10, "a tenth of the bound");
}

#[test]
fn a_lane_leaves_room_to_the_others_whatever_its_share() {
    let (queue, main) = queue(4, 100);
    let side = queue.open_lane(1.0);
    (0..4).for_each(|item| queue.push(item, 1).expect("there is room"));
    assert_eq!(queue.len_for(side), 2, "half of the room");
    assert_eq!(
        (taken(&queue, main), taken(&queue, side)),
        (vec![2, 3], vec![0, 1])
    );
    queue.push(4, 60).expect("there is room");
    assert_eq!(queue.len_for(side), 0, "too large to wait beside others");
    let (single, main) = self::queue(1, 100);
    let side = single.open_lane(1.0);
    single.push(1, 1).expect("there is room");
    assert_eq!((taken(&single, main), single.len_for(side)), (vec![1], 0));
}

#[test]
fn a_queue_is_handed_over_to_those_of_a_lane() {
    let (queue, main) = queue(100, 100);
    let side = queue.open_lane(0.3);
    (0..50).for_each(|item| queue.push(item, 1).expect("there is room"));
    queue.promote_lane(side);
    assert!(taken(&queue, main).is_empty());
    assert_eq!(taken(&queue, side), (0..50).collect::<Vec<_>>());
    let next = queue.open_lane(1.0);
    queue.push(50, 1).expect("there is room");
    assert_eq!(
        (taken(&queue, side), taken(&queue, next)),
        (vec![], vec![50])
    );
}

#[tokio::test]
async fn the_readers_of_a_closed_queue_wait_for_what_a_lane_may_give_back() {
    let (queue, main) = queue(100, 100);
    let side = queue.open_lane(1.0);
    queue.push(1, 1).expect("there is room");
    queue.close();
    let mut waiting = std::pin::pin!(queue.pop(main));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    queue.merge_lane(side);
    assert_eq!(waiting.await, Some(1));
    assert_eq!(queue.pop(main).await, None);
}

#[tokio::test]
async fn the_readers_of_a_closed_queue_end_once_a_lane_is_empty() {
    let (queue, main) = queue(100, 100);
    let side = queue.open_lane(1.0);
    queue.push(1, 1).expect("there is room");
    queue.close();
    let mut waiting = [queue.pop(main), queue.pop(main)].map(Box::pin);
    assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
    assert_eq!(queue.pop(side).await, Some(1));
    assert_eq!(queue.pop(side).await, None);
    assert_eq!(futures_util::future::join_all(waiting).await, [None, None]);
}

#[tokio::test]
async fn what_waits_can_be_taken_after_closing_and_then_it_ends() {
    let (queue, reader) = queue(2, 100);
    assert!(queue.push(1, 1).is_ok());
    queue.close();
    assert!(queue.push(2, 1).is_err());
    assert_eq!(queue.pop(reader).await, Some(1));
    assert_eq!(queue.pop(reader).await, None);
    assert_eq!(queue.pop(reader).await, None);
}

#[tokio::test]
async fn readers_take_every_item_once_and_all_end() {
    let (queue, mut reader) = queue(10_000, 10_000);
    let read = async |reader| {
        let mut taken = Vec::new();
        while let Some(item) = queue.pop(reader).await {
            taken.push(item);
            tokio::task::yield_now().await;
        }
        taken
    };
    let first = futures_util::future::join_all((0..8).map(|_| read(reader)));
    let queue = &queue;
    let write = async {
        for item in 0..500 {
            assert!(queue.push(item, 1).is_ok());
            if item % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    let replace_readers = async {
        write.await;
        queue.replace_readers(10_000, 10_000)
    };
    let (mut taken, next) = tokio::join!(first, replace_readers);
    reader = next;
    let second = futures_util::future::join_all((0..8).map(|_| read(reader)));
    let write = async {
        for item in 500..1000 {
            assert!(queue.push(item, 1).is_ok());
        }
        queue.close();
    };
    let (rest, ()) = tokio::join!(second, write);
    taken.extend(rest);
    let mut taken: Vec<i32> = taken.into_iter().flatten().collect();
    taken.sort_unstable();
    assert_eq!(taken, (0..1000).collect::<Vec<_>>());
}
