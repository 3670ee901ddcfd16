// The only screen: picks a picture, shows it beside its enlargement, saves.

import PhotosUI
import SwiftUI

@main
struct UpscaleApp: App {
    var body: some Scene {
        WindowGroup { ContentView() }
    }
}

struct ContentView: View {
    @StateObject private var enlargement = Enlargement()
    @State private var item: PhotosPickerItem?

    var body: some View {
        VStack(spacing: 12) {
            if let before = enlargement.before {
                CompareView(before: before, after: enlargement.after)
            } else {
                Spacer()
            }
            ProgressView(value: enlargement.progress)
                .opacity(enlargement.isBusy ? 1 : 0)
            Text(enlargement.status)
                .font(.footnote)
                .frame(minHeight: 36)
            HStack {
                PhotosPicker("Pick", selection: $item, matching: .images)
                    .disabled(enlargement.isBusy)
                Spacer()
                Button("Cancel", action: enlargement.cancel)
                    .disabled(!enlargement.isBusy)
                Spacer()
                Button("Save", action: enlargement.save)
                    .disabled(enlargement.isBusy || enlargement.after == nil)
            }
        }
        .padding()
        .onChange(of: item) { picked in
            guard let picked else { return }
            item = nil  // so that the same picture can be picked again
            enlargement.start(picked)
        }
    }
}

/// Shows a picture on the left of a line that can be dragged, and its enlargement on the right.
struct CompareView: View {
    let before: CGImage
    let after: CGImage?
    @State private var line = 0.5

    var body: some View {
        GeometryReader { space in
            ZStack(alignment: .leading) {
                picture(before, space.size)
                if let after {
                    picture(after, space.size)
                        .mask(alignment: .trailing) {
                            Rectangle().frame(width: space.size.width * (1 - line))
                        }
                    Rectangle()
                        .fill(.white)
                        .frame(width: 2)
                        .offset(x: space.size.width * line - 1)
                }
            }
            .contentShape(Rectangle())
            .gesture(
                DragGesture(minimumDistance: 0).onChanged { drag in
                    line = min(max(drag.location.x / space.size.width, 0), 1)
                }
            )
        }
        .accessibilityLabel("The picture on the left of the line, its enlargement on the right.")
    }

    private func picture(_ image: CGImage, _ size: CGSize) -> some View {
        Image(decorative: image, scale: 1)
            .resizable()
            .scaledToFit()
            .frame(width: size.width, height: size.height)
    }
}
