// What the screen shows: the work on one picture, from the pick to the photo library.

import CoreGraphics
import PhotosUI
import SwiftUI

@MainActor
final class Enlargement: ObservableObject {
    @Published private(set) var before: CGImage?
    @Published private(set) var after: CGImage?
    @Published private(set) var progress = 0.0
    @Published private(set) var status = "Pick a picture to enlarge."
    @Published private(set) var isBusy = false

    private var upscaler: Upscaler?
    private var task: Task<Void, Never>?

    func start(_ item: PhotosPickerItem) {
        after = nil
        before = nil
        progress = 0
        status = "Opening the network…"
        work { try await self.enlarge(item) }
    }

    func cancel() {
        task?.cancel()
    }

    func save() {
        guard let after else { return }
        work {
            try await addToLibrary(after)
            self.status = "Saved to the photo library."
        }
    }

    private func enlarge(_ item: PhotosPickerItem) async throws {
        let upscaler = try await opened()
        guard let data = try await item.loadTransferable(type: Data.self) else {
            throw Fault("The picture can't be read; pick another one.")
        }
        let (scale, device) = (upscaler.scale, upscaler.device)
        let picture = try await Task.detached { try Picture(data: data, scale: scale) }.value
        before = try picture.image()
        status = "Enlarging ×\(scale) on the \(device)…"
        let start = Date()
        let sr = try await upscaler.enlarge(picture) { share in
            Task { @MainActor in self.progress = share }
        }
        after = try sr.image()
        let seconds = String(format: "%.1f", Date().timeIntervalSince(start))
        status = "×\(scale) on the \(device) in \(seconds) s. Drag the line."
    }

    private func opened() async throws -> Upscaler {
        if let upscaler { return upscaler }
        let opened = try await Task.detached { try Upscaler() }.value
        upscaler = opened
        return opened
    }

    /// Runs `body`; what goes wrong is shown in one line.
    private func work(_ body: @escaping @MainActor () async throws -> Void) {
        isBusy = true
        task = Task {
            do {
                try await body()
            } catch is CancellationError {
                status = "Cancelled."
            } catch let fault as Fault {
                status = fault.message
            } catch {
                status = "\(error.localizedDescription) Pick another picture."
            }
            isBusy = false
        }
    }
}
